"""Which pictures a method got and which it gave: paired by stem, every difference named."""

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from datamodules.pairs import listed
from osdface.errors import UserError
from osdface.picture_reading import PICTURE_SUFFIXES

ANY_FOLDER = "**"
KINDS = ("missing", "extra", "unreadable", "size")


def list_pictures(folder: str | Path, key: str) -> dict[str, Path]:
    """Returns stem -> file of the pictures of a folder (not below it), in the order of their names.

    Raises:
        UserError: There is no such folder, no picture in it, or two of the same stem.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise UserError(f"{key}={folder} is no folder.")
    found: dict[str, Path] = {}
    for path in _pictures(root.iterdir()):
        if path.stem in found:
            raise UserError(f"{key}={folder} holds two pictures {path.stem}: pairs go by stem.")
        found[path.stem] = path
    if not found:
        raise UserError(f"{key}={folder} holds no picture.")
    return found


def _pictures(paths: Iterable[Path]) -> list[Path]:
    return sorted(
        path
        for path in paths
        if path.suffix.lower() in PICTURE_SUFFIXES and path.name[0] != "." and path.is_file()
    )


def stage(pictures: Mapping[str, Path], folder: Path) -> Path:
    """Makes a folder of links to pictures, and of nothing else; returns it."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for path in pictures.values():
        os.symlink(path.resolve(), folder / path.name)
    return folder


def size_of(path: Path) -> tuple[int, int] | None:
    """Returns width and height of a picture that decodes to its end; None if it does not."""
    try:
        with Image.open(path) as image:
            image.load()
            return image.size
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        return None


@dataclass
class Outputs:
    """What a method gave for a set of inputs.

    Attributes:
        good: Stem -> file, of those that can be compared.
        faults: Kind of :data:`KINDS` -> stems.
    """

    good: dict[str, Path]
    faults: dict[str, list[str]] = field(default_factory=dict)

    def refused(self, allowed: Iterable[str]) -> str:
        """Returns what keeps the outputs from being scored, one clause; empty if nothing does."""
        parts = [
            f"{kind}: {listed(names)}"
            for kind, names in self.faults.items()
            if kind not in set(allowed)
        ]
        return "; ".join(parts)


def find_outputs(folder: Path, inputs: Mapping[str, Path], suffix: str = "") -> Outputs:
    """Pairs the pictures in ``folder`` with the inputs.

    Args:
        folder: Where the method wrote; its last part may be ``**``, any folder below.
        inputs: Stem -> file; an output must have its input's size.
        suffix: What a method puts behind a stem.
    """
    anywhere = folder.name == ANY_FOLDER
    root = folder.parent if anywhere else folder
    paths = _pictures(root.rglob("*") if anywhere else root.iterdir()) if root.is_dir() else []
    found: dict[str, Path] = {}
    faults: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for path in paths:
        stem = path.stem.removesuffix(suffix)
        if stem not in inputs or stem in found or not path.stem.endswith(suffix):
            faults["extra"].append(path.relative_to(root).as_posix())
        else:
            found[stem] = path
    faults["missing"] = sorted(inputs.keys() - found.keys())
    good = {}
    for stem, path in sorted(found.items()):
        size, wanted = size_of(path), size_of(inputs[stem])
        if size is None:
            faults["unreadable"].append(stem)
        elif size != wanted:
            faults["size"].append(f"{stem} ({size[0]}x{size[1]})")
        else:
            good[stem] = path
    return Outputs(good, {kind: names for kind, names in faults.items() if names})


def collect(outputs: Outputs, folder: Path, *, link: bool = False) -> None:
    """Copies or links the comparable outputs into one folder, each under its input's stem."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for stem, path in outputs.good.items():
        name = folder / f"{stem}{path.suffix}"
        if link:
            os.symlink(path.resolve(), name)
        else:
            shutil.copy2(path, name)
