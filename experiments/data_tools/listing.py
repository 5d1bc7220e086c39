"""Which pictures a folder holds, and the safe key of each."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from datamodules.folders import IMAGE_SUFFIXES
from osdface.degradation import stable_hash
from osdface.errors import UserError

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_NUMBERED = re.compile(r"(?P<name>.*?)(?P<number>_+\d+)?", re.S)


@dataclass(frozen=True)
class Picture:
    """One file to be read.

    Attributes:
        key: Safe, unique key.
        source: Path below the folder, with ``/``, as the file system has it.
        path: Where it is.
        bytes: Its length.
    """

    key: str
    source: str
    path: Path
    bytes: int


def safe_key(relative: str) -> str:
    """Returns a key of letters, digits, ``_`` and ``-`` for a path below the source folder.

    ``/`` becomes ``__``. A name that holds anything else (dots, spaces, non-ASCII letters) is
    written with what is nearest, and eight hex digits of its hash keep two such names apart. A
    number at the end stays there, so that ``<person>_<number>`` still names the person.
    """
    stem = "__".join(PurePath(relative).with_suffix("").parts)
    match = _NUMBERED.fullmatch(stem)
    assert match is not None  # it matches every text
    name, number = match["name"], match["number"] or ""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    safe = _UNSAFE.sub("-", plain).strip("-") or "x"
    if safe != name:
        safe += f"-{stable_hash(name):032x}"[:9]
    return safe + number


def list_pictures(
    root: Path, without: Path | None = None
) -> tuple[list[Picture], list[tuple[str, str]]]:
    """Returns all pictures below a folder by path, and what else is there, with the reason.

    Hidden files and folders are left out. Pictures are told by their suffix; whether they can be
    read shows later. Links to files are followed, links to folders are not: they may be loops.

    Args:
        root: The folder.
        without: A folder to leave out, such as one for the results inside ``root``.

    Raises:
        UserError: The folder is missing or holds no picture, or is ``without`` itself.
    """
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise UserError(f"The folder {root} {what}: correct source=.")
    if without is not None and root.resolve().is_relative_to(without.resolve()):
        raise UserError(f"{root} lies in output={without}: choose another output=.")
    found, others = [], []
    for path in sorted(root.rglob("*"), key=lambda path: path.relative_to(root).as_posix()):
        relative = path.relative_to(root)
        hidden = any(part.startswith(".") for part in relative.parts)
        inside = without is not None and path.resolve().is_relative_to(without.resolve())
        if hidden or inside or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_dir():
            others.append((relative.as_posix(), "a link to a folder, which is not followed"))
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            found.append(path)
        else:
            others.append((relative.as_posix(), "no picture by its suffix"))
    if not found:
        raise UserError(
            f"No image below {root}: put files ending in {', '.join(IMAGE_SUFFIXES)} there "
            "or correct source=."
        )
    names = [path.relative_to(root).as_posix() for path in found]
    keys = _unique([safe_key(name) for name in names], names)
    pictures = [
        Picture(key, name, path, _size(path))
        for key, name, path in zip(keys, names, found, strict=True)
    ]
    return pictures, others


def partners(pictures: Sequence[Picture], root: Path) -> dict[str, Path]:
    """Returns key -> file of the same name (or else the same path without suffix) in ``root``."""
    others, _ = list_pictures(root)
    by_path = {str(PurePath(other.source).with_suffix("")): other.path for other in others}
    counts = Counter(other.path.stem for other in others)
    by_stem = {other.path.stem: other.path for other in others if counts[other.path.stem] == 1}
    found = {}
    for picture in pictures:
        place = PurePath(picture.source).with_suffix("")
        partner = by_path.get(str(place), by_stem.get(place.name))
        if partner is not None:
            found[picture.key] = partner
    return found


def _unique(keys: list[str], names: list[str]) -> list[str]:
    counts = Counter(keys)
    return [
        key if counts[key] == 1 else f"{key}-{stable_hash(name):032x}"[: len(key) + 9]
        for key, name in zip(keys, names, strict=True)
    ]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a broken link: it is reported when it is read
        return -1
