"""Fetching what ``download=`` names, one file after the other, with progress."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from experiments.cli.suggest import unknown
from osdface.errors import UserError
from osdface.files import sha256_file
from osdface.weights.download import fetch
from osdface.weights.registry import Weight, registry, size_text

_LINE_S = 10.0  # between two lines where there is no terminal


def chosen(text: str) -> list[Weight]:
    """Returns the entries that ``download=`` names: ``all`` that can be fetched, or names.

    Raises:
        UserError: There is no such entry.
    """
    if text == "all":
        return [weight for weight in registry() if weight.fetchable]
    known = {weight.name: weight for weight in registry()}
    names = [name.strip() for name in text.strip("[]").split(",") if name.strip()]
    for name in names:
        if name not in known:
            near = [each for each in known if name.lower() in each.lower()]
            if near:
                raise UserError(f"There is no weight {name!r}; did you mean {' or '.join(near)}?")
            raise unknown("weight", name, known)
    return [known[name] for name in names]


def fetch_all(weights: Sequence[Weight], root: Path, mirror: str | None) -> list[str]:
    """Fetches what is not there yet; returns a line for each file.

    Raises:
        UserError: A file could not be had. The others are tried all the same, unless it was the
            first one: without a network there is no use in asking for each.
    """
    lines, failed = [], []
    for weight in weights:
        found = weight.find(root)
        if found and not weight.files and not (fault := weight.fault(found)):
            lines.append(f"{weight.name}: there already, {found}")
            continue
        if found and not weight.files:
            print(f"{weight.name}: {found} is another file ({fault}); fetched anew.", flush=True)
        try:
            path = _fetch(weight, root, mirror)
        except UserError as error:
            if len(weights) == 1 or not (lines or failed):
                raise
            failed.append(str(error))
            continue
        checked = "checked" if weight.sha256 else f"no checksum is known, {sha256_file(path)}"
        lines.append(f"{weight.name}: fetched and {checked}, {path}")
    if failed:
        raise UserError(f"{len(failed)} of {len(weights)} could not be fetched: {' '.join(failed)}")
    return lines


def _fetch(weight: Weight, root: Path, mirror: str | None) -> Path:
    terminal = sys.stderr.isatty()
    last = time.monotonic()
    with tqdm(desc=weight.name, unit="B", unit_scale=True, disable=not terminal) as bar:

        def show(received: int, total: int | None) -> None:
            nonlocal last
            bar.total = total
            bar.update(received - bar.n)
            if not terminal and time.monotonic() - last > _LINE_S:
                last = time.monotonic()
                whole = f" of {size_text(total)}" if total else ""
                print(f"{weight.name}: {size_text(received)}{whole}", flush=True)

        return fetch(weight, root, mirror=mirror, progress=show)
