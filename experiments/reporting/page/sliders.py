"""Faces to compare: degraded input, every variant, original, with a divider between two."""

from pathlib import Path
from typing import Any

from experiments.reporting.grids import keys_below
from experiments.reporting.page.found import Found
from experiments.reporting.page.markup import data_block, element, escape, section
from experiments.reporting.page.pictures import Budget, data_uri
from experiments.reporting.records import Row

MAX_FACES = 24
_NOTE = (
    "Held-out faces. Drag across the picture, or use the arrow keys, to move the divider; click a "
    "picture below to put it on the right. What the input does not show is a guess of the model."
)


def samples_of(row: Row) -> Path | None:
    """Returns the pictures of a variant's first finished seed, else of any seed that has some."""
    runs = [*row.finished, *row.runs]
    folders = (run.folder / "samples" for run in runs)
    return next((folder for folder in folders if keys_below(folder)), None)


def faces_data(found: Found, budget: Budget) -> tuple[dict[str, Any], int]:
    """Returns column names with faces (key, picture of each column), and how many were left out.

    Faces stand in the order of their keys; a column without any picture is left out.
    """
    references = found.references_folder / "samples"
    folders = [("LQ", references / "lq"), *((row.name, samples_of(row)) for row in found.rows)]
    folders.append(("HQ", references / "hq"))
    columns = [(name, folder) for name, folder in folders if folder and keys_below(folder)]
    # A folder of references alone, of a run that failed, shows what it would have restored.
    keys = sorted(set().union(*(keys_below(folder) for _, folder in columns)))
    faces = []
    for key in keys[:MAX_FACES]:
        pictures = [data_uri(folder / f"{key}.png") for _, folder in columns]
        if not budget.take(pictures):
            break
        if any(pictures):
            faces.append({"key": key, "pictures": pictures})
    return {"columns": [name for name, _ in columns], "faces": faces}, len(keys) - len(faces)


def faces_section(found: Found, budget: Budget) -> str:
    """Returns the section with the divider; empty without at least two pictures of a face."""
    data, left_out = faces_data(found, budget)
    if len(data["columns"]) < 2 or not data["faces"]:
        return ""
    chosen = element("div", class_="faces", role="group", aria_label="Face")
    frame = element(
        "div",
        '<img class="right" alt=""><img class="left" alt="">',
        element("span", class_="divider", aria_hidden="true"),
        '<input type="range" id="divider" min="0" max="100" step="0.5" value="50">',
        element("span", class_="caption", data_side="left"),
        element("span", class_="caption", data_side="right"),
        class_="compare",
    )
    sides = element(
        "div",
        element("label", "Left ", element("select", id="left")),
        element("label", "Right ", element("select", id="right")),
        class_="tools",
    )
    strip = element("div", class_="strip", role="group", aria_label="Picture on the right")
    missing = [row.name for row in found.rows if row.name not in data["columns"]]
    notes = [_NOTE]
    if any(len(row.runs) > 1 for row in found.rows):
        notes.append("Of several seeds the first finished one is shown.")
    if left_out:
        notes.append(f"{left_out} more faces were left out to keep this page small.")
    explained = element("p", " ".join(notes), class_="note")
    if missing:
        said = ", ".join(element("code", escape(name)) for name in missing)
        explained += element("p", f"No pictures: {said}.", class_="note")
    body = element("div", frame, element("div", sides, strip, class_="beside"), class_="viewer")
    return section("Faces", "faces", explained, chosen, body, data_block("face-data", data))
