"""Which shards are meant: globs, brace ranges, lists and folders."""

import glob
import re
from collections.abc import Sequence
from pathlib import Path

import braceexpand

from osdface.errors import UserError

_SCHEME = re.compile(r"(?P<scheme>pipe|[A-Za-z][A-Za-z0-9+.-]+(?=://)):")


def expand_urls(
    urls: str | Sequence[str], root: str | Path | None = None, key: str = "data.urls"
) -> list[Path | str]:
    """Returns the shards that are meant: paths, and texts for remote ones; globs are sorted.

    Args:
        urls: A path, a glob (``train-*.tar``), a brace range (``train-{000000..000069}.tar``),
            ``http(s)://...`` or ``pipe:COMMAND`` (brace ranges there too), several of those
            joined by ``::``, or a list.
        root: Folder, or ``http(s)`` address, that relative patterns are below; None is the
            working folder.
        key: What a mistake calls ``urls``.

    Raises:
        UserError: A pattern matches nothing, names a shard twice, or has another scheme; no
            shard exists. One that is missing among others is for the reader to count.
    """
    patterns = urls.split("::") if isinstance(urls, str) else list(urls)
    if not patterns:
        raise UserError(f"{key} is empty: give at least one shard, such as 'train-*.tar'.")
    shards: list[Path | str] = []
    for pattern in patterns:
        shards += _expand(str(pattern), root, key)
    if len(set(shards)) < len(shards):
        repeated = next(shard for shard in shards if shards.count(shard) > 1)
        raise UserError(f"The shard {repeated} is named twice in {key}: name it once.")
    if not any(isinstance(shard, str) or shard.is_file() for shard in shards):
        raise UserError(f"The shard {shards[0]} (of {key} {urls!r}) does not exist.")
    return shards


def is_remote(place: str | Path) -> bool:
    """Tells ``http(s)://`` and ``pipe:`` from a local path."""
    return isinstance(place, str) and place.startswith(("http://", "https://", "pipe:"))


def _expand(pattern: str, root: str | Path | None, key: str) -> list[Path | str]:
    if root is not None and is_remote(root) and not _SCHEME.match(pattern):
        pattern = f"{str(root).rstrip('/')}/{pattern}"
    if match := _SCHEME.match(pattern):
        if not is_remote(pattern):
            raise UserError(
                f"Shards from {match['scheme']}: ({pattern}) cannot be read: give http(s)://, "
                "a local path, or pipe:COMMAND, where the command writes the shard to its output."
            )
        return list(braceexpand.braceexpand(pattern))
    found: list[Path | str] = []
    for single in braceexpand.braceexpand(pattern):
        path = str(Path(root) / single) if root is not None else single
        if glob.has_magic(path):
            found += sorted(Path(match) for match in glob.glob(path, recursive=True))
        else:
            found.append(Path(path))
    if not found:
        where = f" below {root}" if root is not None else ""
        or_root = " or data.root" if key == "data.urls" else ""
        raise UserError(f"No shard matches {pattern!r}{where}: correct {key}{or_root}.")
    return found
