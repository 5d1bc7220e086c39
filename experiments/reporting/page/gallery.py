"""The pictures that a run draws at its validations, to look through step by step."""

import re
from pathlib import Path
from typing import Any

from experiments.reporting.page.found import Found
from experiments.reporting.page.markup import data_block, element, section
from experiments.reporting.page.pictures import Budget, data_uri

MAX_STEPS = 6  # of one series
_NUMBERED = re.compile(r"(?P<name>.+)-(?P<step>\d+)")
_NAMES = {"step": "faces"}


def series_of(folder: Path) -> dict[str, list[tuple[int, Path]]]:
    """Returns name -> (step, file) of ``images/`` and ``codebook/``, in the order of the steps."""
    series: dict[str, list[tuple[int, Path]]] = {}
    for path in [*sorted(folder.glob("images/*.png")), *sorted(folder.glob("codebook/*.png"))]:
        if match := _NUMBERED.fullmatch(path.stem):
            name = _NAMES.get(match["name"], match["name"].replace("_", " "))
            series.setdefault(name, []).append((int(match["step"]), path))
    for pictures in series.values():
        pictures.sort()
    if (folder / "codebook.png").is_file():
        series["codebook"] = [(0, folder / "codebook.png")]
    return series


def spread(pictures: list[tuple[int, Path]], count: int) -> list[tuple[int, Path]]:
    """Returns ``count`` pictures evenly spread over the steps, the first and the last included."""
    if len(pictures) <= count:
        return pictures
    return [pictures[round(i * (len(pictures) - 1) / (count - 1))] for i in range(count)]


def gallery_data(found: Found, budget: Budget) -> tuple[list[dict[str, Any]], int]:
    """Returns the series with their pictures, and how many pictures the budget left out.

    Every series first gets its last picture, then earlier ones as far as the budget goes.
    """
    chosen = [
        (part.label, name, spread(pictures, MAX_STEPS))
        for part in found.parts
        for name, pictures in series_of(part.folder).items()
    ]
    kept: dict[Path, str] = {}
    left_out = 0
    for back in range(MAX_STEPS):
        for _, _, pictures in chosen:
            if back < len(pictures):
                path = pictures[-1 - back][1]
                uri = data_uri(path)
                if uri and budget.take([uri]):
                    kept[path] = uri
                else:
                    left_out += uri is not None
    series = []
    for part, name, pictures in chosen:
        shown = [{"step": step, "src": kept[path]} for step, path in pictures if path in kept]
        if shown:
            series.append({"part": part, "name": name, "pictures": shown})
    return series, left_out


def gallery_section(found: Found, budget: Budget) -> str:
    """Returns the section; empty where a run has drawn nothing."""
    series, left_out = gallery_data(found, budget)
    if not series:
        return ""
    tools = element(
        "div",
        element("label", "Training ", element("select", id="gallery-part")),
        element("label", "Picture ", element("select", id="gallery-name")),
        element(
            "label",
            "Step ",
            '<input type="range" id="gallery-step" min="0" max="0" value="0">',
            element("output", for_="gallery-step"),
        ),
        class_="tools",
    )
    note = "Drawn at the validations, of the same pictures every time."
    if left_out:
        note += f" {left_out} more were left out to keep this page small."
    frame = element("div", '<img id="gallery-picture" alt="">', class_="gallery")
    return section(
        "While training", "training", tools, frame, data_block("gallery-data", series), note=note
    )
