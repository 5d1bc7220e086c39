"""Where weights are looked for: the shipped tiny models and the user's weights folder."""

import os
from functools import cache
from importlib.resources import files
from pathlib import Path

from osdface.errors import UserError
from osdface.weights.registry import entry, how_to_get

WEIGHTS_VARIABLE = "OSDFACE_WEIGHTS"
SHIPPED_PREFIX = "shipped:"


def assets_dir() -> Path:
    """Returns the folder of the tiny models that are shipped with the package."""
    return Path(str(files("osdface"))) / "assets" / "tiny"


@cache
def _files_below(root: Path) -> dict[str, Path]:
    return {path.name: path for path in sorted(root.rglob("*")) if path.is_file()}


def weights_root(weights_dir: str | Path | None = None) -> Path | None:
    """Returns the folder of the weight files: the one given, or else ``$OSDFACE_WEIGHTS``."""
    root = weights_dir or os.environ.get(WEIGHTS_VARIABLE)
    return Path(root).expanduser() if root else None


def _below(root: Path, name: str) -> Path | None:
    """The file of that name below a folder; one that was fetched meanwhile is found too."""
    found = _files_below(root).get(name)
    if found is None or not found.exists():
        _files_below.cache_clear()
        found = _files_below(root).get(name)
    return found


def find_weight(name: str, weights_dir: str | Path | None = None) -> Path:
    """Returns the path of a weight file.

    Args:
        name: ``shipped:NAME`` (below :func:`assets_dir`), an existing path, or a file name that is
            searched for anywhere below ``weights_dir`` or, if that is None, ``$OSDFACE_WEIGHTS``.
        weights_dir: Folder that is searched.

    Raises:
        UserError: The file is nowhere; the sentence says where it was looked for and, of a file in
            the registry (:mod:`osdface.weights`), its size, licence, address and how to get it.
    """
    if name.startswith(SHIPPED_PREFIX):
        path = assets_dir() / name.removeprefix(SHIPPED_PREFIX)
        if not path.exists():
            raise UserError(f"The shipped model {name!r} is missing at {path}: reinstall osdface.")
        return path
    if Path(name).exists():
        return Path(name)
    root = weights_root(weights_dir)
    if root and (found := _below(root, Path(name).name)):
        return found
    looked = f"below {root}" if root else f"(neither weights_dir= nor ${WEIGHTS_VARIABLE} is set)"
    if known := entry(Path(name).name):
        raise UserError(f"Weight file {name!r} was not found {looked}: {how_to_get(known, root)}")
    raise UserError(
        f"Weight file {name!r} was not found {looked}: put it there, or set weights_dir= to the "
        "folder that holds it."
    )
