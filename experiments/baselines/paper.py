"""The paper's tables: columns, layout and published figures.

Source of the figures (``experiments/reporting/published``): J. Wang et al., *OSDFace*, CVPR 2025,
arXiv:2411.17163, and its poster (P). DiffBIR's parameter count is printed as "3.042" on the poster
and read as 3,042 M.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

from osdface.errors import UserError

PUBLISHED = Path(__file__).resolve().parents[1] / "reporting" / "published"
SOURCE = (
    "Published: J. Wang et al., *OSDFace: One-Step Diffusion Model for Face Restoration*, CVPR "
    "2025, arXiv:2411.17163, and its poster."
)
SETS = {"wider": "Wider-Test", "lfw": "LFW-Test", "webphoto": "WebPhoto-Test"}


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        key: Its name in files.
        label: Its head.
        higher: Whether higher is better; None where neither is.
        digits: Printed behind the point.
        group: Head over several columns; empty for none.
    """

    key: str
    label: str
    higher: bool | None
    digits: int = 4
    group: str = ""

    @property
    def head(self) -> str:
        return self.label + {True: " ↑", False: " ↓", None: ""}[self.higher]


@dataclass(frozen=True)
class Layout:
    """A table of the paper: its title, file of published figures, and columns."""

    title: str
    file: str
    columns: tuple[Column, ...]


_NO_REFERENCE = (
    ("clipiqa", "CLIP-IQA", True, 4),
    ("maniqa", "MANIQA", True, 4),
    ("musiq", "MUSIQ", True, 3),
    ("niqe", "NIQE", False, 4),
    ("fid", "FID", False, 3),
)
LAYOUTS = {
    "1": Layout(
        "Table 1: CelebA-Test (synthetic)",
        "celeba_test.csv",
        (
            Column("lpips", "LPIPS", False),
            Column("dists", "DISTS", False),
            Column("musiq", "MUSIQ", True),
            Column("niqe", "NIQE", False),
            Column("deg", "Deg.", False),
            Column("lmd", "LMD", False),
            Column("fid_ffhq", "FID(FFHQ)", False),
            Column("fid_hq", "FID(HQ)", False),
        ),
    ),
    "2": Layout(
        "Table 2: real-world sets",
        "real_world.csv",
        tuple(
            Column(f"{key}_{metric}", label, higher, digits, group)
            for key, group in SETS.items()
            for metric, label, higher, digits in _NO_REFERENCE
        ),
    ),
    "complexity": Layout(
        "Complexity, one image of 512x512",
        "complexity.csv",
        (
            Column("seconds", "s/image", False, 2),
            Column("params_m", "parameters, M", False, 1),
            Column("macs_g", "MACs, G", False, 0),
        ),
    ),
}
# Measured by us, not in the paper's tables: shown behind its columns where there are any.
EXTRA = (
    Column("psnr", "PSNR, dB", True, 2),
    Column("ssim", "SSIM", True),
    Column("seconds_per_image", "s/image", None, 3),
    Column("loading_seconds", "loading, s", None, 2),
)


@dataclass(frozen=True)
class PublishedRow:
    """A method's published figures; ``steps`` of diffusion, None for none."""

    method: str
    steps: int | None
    values: dict[str, float]


def published(table: str) -> list[PublishedRow]:
    """Returns the published rows of a table, in the paper's order."""
    layout = LAYOUTS[table]
    path = PUBLISHED / layout.file
    if not path.is_file():
        raise UserError(f"{path} is missing: reinstall osdface.")
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    keys = [column.key for column in layout.columns]
    return [
        PublishedRow(
            row["method"],
            int(row["steps"]) if row["steps"] else None,
            {key: float(row[key]) for key in keys if row.get(key)},
        )
        for row in rows
    ]
