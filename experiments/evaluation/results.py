"""What an evaluation writes: metrics.csv, summary.md, summary.json, worst.png and best.png."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from callbacks.drawing import draw_grid
from callbacks.image_grid import save_picture
from experiments.evaluation.images import ImageFile
from experiments.evaluation.pairing import Item
from osdface.files import write_json, write_text
from osdface.metrics.specification import Specification
from osdface.metrics.suites import HIGHER
from osdface.picture_reading import decode_picture

ROWS, SUMMARY, TEXT = "metrics.csv", "summary.json", "summary.md"
WORST, BEST = "worst.png", "best.png"


@dataclass
class Evaluation:
    """All that was measured.

    Attributes:
        suite: Which suite.
        restored: Folder of the images.
        reference: Folder of the originals.
        images: Number of images.
        values: Column -> figure; NaN where an image has none.
        rows: Key -> column -> figure.
        specifications: What every column rests on.
        faults: What was left out: kind -> sentences.
    """

    suite: str
    restored: str
    reference: str | None
    images: int
    values: dict[str, float]
    rows: dict[str, dict[str, float]]
    specifications: Mapping[str, Specification]
    faults: dict[str, list[str]] = field(default_factory=dict)

    @property
    def stand_ins(self) -> list[str]:
        """Columns that networks measured which stand in for the published ones."""
        return [name for name, each in self.specifications.items() if each.stand_in]

    @property
    def not_comparable(self) -> list[str]:
        """Columns that may not be held against published ones: stand-ins, and other networks."""
        return [name for name, each in self.specifications.items() if not each.comparable]

    def write(self, folder: Path) -> None:
        """Writes the three tables, each atomically; the summary last."""
        write_text(folder / ROWS, self._csv())
        write_text(folder / TEXT, self._markdown())
        write_json(folder / SUMMARY, self._record())

    def _csv(self) -> str:
        columns = list(next(iter(self.rows.values()), {}))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["image", *columns, "stand_ins", "not_comparable"])
        named = [
            " ".join(name for name in columns if name in marked)
            for marked in (self.stand_ins, self.not_comparable)
        ]
        for key in sorted(self.rows):
            figures = [repr(self.rows[key][name]) for name in columns]
            writer.writerow([key, *figures, *named])
        return text.getvalue()

    def _markdown(self) -> str:
        title = f"# {self.suite}: {self.images} images"
        if self.stand_ins:
            title += f" (stand-in networks measured {', '.join(self.stand_ins)})"
        if others := [name for name in self.not_comparable if name not in self.stand_ins]:
            title += f" ({', '.join(others)}: not by the published network)"
        lines = [title, "", f"Restored: `{self.restored}`"]
        lines += [f"Originals: `{self.reference}`"] if self.reference else []
        lines += ["", "| figure | value | comparable | what it rests on |", "|---|---|---|---|"]
        for name, value in self.values.items():
            each = self.specifications[name]
            better = "↑" if name in HIGHER else "↓"
            mark = " (stand-in)" if each.stand_in else ""
            fits = "yes" if each.comparable else "no"
            lines.append(f"| {name} {better}{mark} | {value:.6g} | {fits} | {each.text()} |")
        lines += ["", "comparable: whether a figure may be held against published ones."]
        for name in self.values:
            if count := sum(math.isnan(row.get(name, 0.0)) for row in self.rows.values()):
                lines += ["", f"{name} has no value for {count} image(s), hence no mean."]
        for kind, told in self.faults.items():
            lines += ["", f"Left out, {kind}: {len(told)} ({', '.join(told[:5])})."]
        return "\n".join(lines) + "\n"

    def _record(self) -> dict[str, Any]:
        return {
            "suite": self.suite,
            "images": self.images,
            "restored": self.restored,
            "reference": self.reference,
            "stand_ins": self.stand_ins,
            "not_comparable": self.not_comparable,
            # JSON knows no NaN.
            "values": {k: v if math.isfinite(v) else None for k, v in self.values.items()},
            "specifications": {name: self.specifications[name].as_dict() for name in self.values},
            "left_out": self.faults,
        }


def write_grids(
    evaluation: Evaluation, items: Sequence[Item], count: int, folder: Path
) -> list[Path]:
    """Draws the worst and the best images by the first column; returns the files."""
    named = [name for name in evaluation.values if name in next(iter(evaluation.rows.values()), {})]
    if not (count and named):
        return []
    column = named[0]
    by_key = {item.key: item for item in items}
    figures = {key: row[column] for key, row in evaluation.rows.items()}
    ranked = sorted(
        (key for key in figures if not math.isnan(figures[key])), key=lambda k: (figures[k], k)
    )
    if column not in HIGHER:
        ranked.reverse()
    mark = " (stand-in)" if column in evaluation.stand_ins else ""
    written = []
    for name, keys in ((WORST, ranked[:count]), (BEST, ranked[::-1][:count])):
        chosen = [by_key[key] for key in keys]
        pictures = [(f"restored, by {column}{mark}", [_pixels(i.restored) for i in chosen])]
        if all(item.reference for item in chosen):
            pictures.append(("original", [_pixels(i.reference) for i in chosen]))
        labels = [f"{figures[key]:.4g} {key}" for key in keys]
        written.append(folder / name)
        save_picture(written[-1], draw_grid(pictures, row_labels=labels))
    return written


def _pixels(image: ImageFile | None) -> np.ndarray | None:
    return decode_picture(image.read(), image.name).rgb_bytes() if image else None
