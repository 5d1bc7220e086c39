"""Which pictures there are, and what their results are called."""

import glob
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from osdface.errors import UserError
from osdface.picture_reading import PICTURE_SUFFIXES

COMPARISONS = "side_by_side"


@dataclass(frozen=True)
class Photo:
    """A picture to restore.

    Attributes:
        source: Its file.
        name: Of its result below the output folder, without suffix, ``/`` between folders.
    """

    source: Path
    name: str


def find_photos(text: str, output: Path) -> list[Photo]:
    """Lists the pictures that ``input=`` names, in the order of their paths.

    Args:
        text: A file, a folder (searched through, hidden files left out) or a pattern.
        output: Where results go; what lies below it is no input.

    Raises:
        UserError: There are none, or a result would lie among the inputs.
    """
    root, paths = _listed(text)
    inside = output.resolve()
    paths = [path for path in paths if not path.resolve().is_relative_to(inside)]
    if not paths and (not root.is_dir() or inside != root.resolve()):
        raise UserError(
            f"input={text} names no picture: a file, a folder or a pattern of files that end in "
            f"{', '.join(PICTURE_SUFFIXES)}."
        )
    if inside in {root.resolve(), *(path.resolve().parent for path in paths)}:
        raise UserError(
            f"output={output} is the folder of the inputs, which are never overwritten: choose "
            "another one."
        )
    photos = [Photo(path, name) for path, name in _named(root, paths)]
    own = {path.resolve() for path in paths}
    for photo in photos:
        if (output / f"{photo.name}.png").resolve() in own:
            raise UserError(
                f"The result of {photo.source} would overwrite an input: choose another output=."
            )
    return photos


def _listed(text: str) -> tuple[Path, list[Path]]:
    """The folder that names are relative to, and the files."""
    path = Path(text).expanduser()
    if path.is_file():
        return path.parent, [path]
    if path.is_dir():
        found = [each for each in path.rglob("*") if _is_picture(each, path)]
        return path, sorted(found, key=lambda each: each.relative_to(path).as_posix())
    if not glob.has_magic(text):
        raise UserError(f"There is no input {text}.")
    root = Path()
    for part in path.parts[:-1]:
        if glob.has_magic(part):
            break
        root = root / part
    matches = (Path(each) for each in glob.glob(str(path), recursive=True))
    return root, sorted(each for each in matches if _is_picture(each, root))


def _is_picture(path: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return path.suffix.lower() in PICTURE_SUFFIXES and not hidden and path.is_file()


def _named(root: Path, paths: Iterable[Path]) -> list[tuple[Path, str]]:
    """Stems, as folders below the root; where files share one, with the suffix: ``a-jpg``.

    Upper case does not tell names apart, as it does not on every file system.
    """
    stems = {path: path.relative_to(root).with_suffix("").as_posix() for path in paths}
    counts: dict[str, int] = {}
    for stem in stems.values():
        counts[stem.casefold()] = counts.get(stem.casefold(), 0) + 1
    taken: set[str] = set()
    names = {}
    # Those that keep their stem come first: no other file's longer name may take it.
    for path in sorted(stems, key=lambda each: counts[stems[each].casefold()] > 1):
        stem = stems[path]
        if counts[stem.casefold()] > 1:
            stem += f"-{path.suffix[1:].lower()}"
        name, number = stem, 2
        while _claims(name) & taken:
            name, number = f"{stem}-{number}", number + 1
        taken |= _claims(name)
        names[path] = name
    return [(path, names[path]) for path in stems]


def _claims(name: str) -> set[str]:
    return {name.casefold(), f"{COMPARISONS}/{name}".casefold()}
