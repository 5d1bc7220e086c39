"""Where weights are looked for: the shipped tiny models and the user's weights folder."""

import os
from functools import cache
from importlib.resources import files
from pathlib import Path

from osdface.errors import UserError

WEIGHTS_VARIABLE = "OSDFACE_WEIGHTS"
SHIPPED_PREFIX = "shipped:"


def assets_dir() -> Path:
    """Returns the folder of the tiny models that are shipped with the package."""
    return Path(str(files("osdface"))) / "assets" / "tiny"


@cache
def _files_below(root: Path) -> dict[str, Path]:
    return {path.name: path for path in sorted(root.rglob("*")) if path.is_file()}


def find_weight(name: str, weights_dir: str | Path | None = None) -> Path:
    """Returns the path of a weight file.

    Args:
        name: ``shipped:NAME`` (below :func:`assets_dir`), an existing path, or a file name that is
            searched for anywhere below ``weights_dir`` or, if that is None, ``$OSDFACE_WEIGHTS``.
        weights_dir: Folder that is searched.

    Raises:
        UserError: The file is nowhere; the sentence says where it was looked for.
    """
    if name.startswith(SHIPPED_PREFIX):
        path = assets_dir() / name.removeprefix(SHIPPED_PREFIX)
        if not path.exists():
            raise UserError(f"The shipped model {name!r} is missing at {path}: reinstall osdface.")
        return path
    if Path(name).exists():
        return Path(name)
    root = weights_dir or os.environ.get(WEIGHTS_VARIABLE)
    if root and (found := _files_below(Path(root)).get(Path(name).name)):
        return found
    looked = f"below {root}" if root else f"(neither weights_dir= nor ${WEIGHTS_VARIABLE} is set)"
    raise UserError(
        f"Weight file {name!r} was not found {looked}: put it there, or set weights_dir= to the "
        "folder that holds it."
    )
