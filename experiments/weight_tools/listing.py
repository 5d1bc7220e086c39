"""The registry as a table for people and as JSON for programs."""

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from osdface.weights.registry import MISSING, PRESENT, WRONG, Weight, registry, size_text

WIDTH = 100
_LABEL = 10


@dataclass(frozen=True)
class Row:
    """An entry and what was found of it.

    Attributes:
        weight: The entry.
        status: ``present``, ``missing`` or, where files are compared, ``wrong``.
        path: Where it lies.
        fault: What is wrong with it.
    """

    weight: Weight
    status: str
    path: Path | None = None
    fault: str = ""


def find_rows(root: Path | None, *, verify: bool = False) -> list[Row]:
    """Looks for every entry below ``root``; with ``verify`` sizes and checksums are compared."""
    rows = []
    for weight in registry():
        path = weight.find(root) if root and root.is_dir() else None
        fault = weight.fault(path) if path and verify and not weight.files else ""
        status = WRONG if fault else PRESENT if path else MISSING
        rows.append(Row(weight, status, path, fault))
    return rows


def table(rows: Sequence[Row], root: Path | None) -> str:
    """Returns the table, at most :data:`WIDTH` columns wide where an address allows it."""
    return "\n\n".join("\n".join(_lines(row, root)) for row in rows)


def _lines(row: Row, root: Path | None) -> list[str]:
    weight = row.weight
    size = "" if weight.size is None and weight.files else size_text(weight.size)
    lines = [f"{weight.name:52} {size:>12}   {row.status}"]
    shown = [("needed by", weight.needed_by), ("licence", weight.licence)]
    if row.path:
        shown.append(("found", str(row.path)))
    elif not weight.files:
        shown.append(("place", str((root or Path("WEIGHTS")) / weight.place / weight.name)))
    shown.append(("address", weight.address + (" (by hand)" if weight.by_hand else "")))
    digits = f"{weight.sha256}{'...' if len(weight.sha256) < 64 else ''}"
    shown.append(("sha256", f"{digits} ({weight.proof})" if weight.sha256 else "not known"))
    shown += [("note", weight.note), ("WRONG", row.fault)]
    for label, text in shown:
        if not text or (label == "sha256" and weight.files):
            continue
        lines += textwrap.wrap(
            text,
            WIDTH,
            initial_indent=f"  {label:{_LABEL}}",
            subsequent_indent=" " * (_LABEL + 2),
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines


def as_json(rows: Sequence[Row]) -> str:
    """Returns the table as a JSON list, every field of an entry and what was found of it."""
    found = [
        asdict(row.weight)
        | {
            "status": row.status,
            "path": str(row.path) if row.path else None,
            "fault": row.fault or None,
        }
        for row in rows
    ]
    return json.dumps(found, indent=2, ensure_ascii=False)


def summary(rows: Sequence[Row], root: Path | None) -> str:
    """Returns the closing line: how many are there, and where they were looked for."""
    counts = {status: sum(row.status == status for row in rows) for status in (PRESENT, MISSING)}
    wrong = sum(row.status == WRONG for row in rows)
    text = f"{counts[PRESENT]} present, {counts[MISSING]} missing"
    text += f", {wrong} wrong" if wrong else ""
    if root is None:
        return f"{text}: neither weights_dir= nor $OSDFACE_WEIGHTS is set"
    return f"{text} below {root}"
