"""One shard on a local disk; :mod:`datamodules.shards.remote` has those behind a network."""

import time
from pathlib import Path
from typing import Protocol

from datamodules.shards.index_file import SUFFIX, parse_index
from datamodules.shards.tar_index import TarIndex, index_tar

RETRIES = 2
PAUSE = 0.05  # seconds before the first retry; doubled each time


class Shard(Protocol):
    """A tar whose bytes can be read anywhere; can be pickled and be used after a fork."""

    name: str

    @property
    def stem(self) -> str:
        """The file name without ``.tar``."""
        ...

    def index(self) -> TarIndex:
        """Returns its members; raises OSError where the shard cannot be reached."""
        ...

    def read(self, offset: int, size: int) -> bytes:
        """Returns ``size`` bytes, fewer at the end; raises OSError where that cannot be done."""
        ...

    def identity(self) -> object:
        """Returns something that changes when the shard does: its SHA-256, or else its size."""
        ...


class LocalShard:
    """A shard in a file; a failing read is repeated, because network file systems stutter.

    Args:
        path: The tar.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, str(path)
        self._identity: object = None

    @property
    def stem(self) -> str:
        """The file name without ``.tar``."""
        return self.path.stem

    def index(self) -> TarIndex:
        """Returns the members by the index file beside the tar, or else by its headers."""
        try:
            text = self.path.with_suffix(SUFFIX).read_bytes()
            size = self.path.stat().st_size
        except OSError:
            return index_tar(self.path)
        if (known := parse_index(text, size)) is None:
            return index_tar(self.path)  # another shard's, or this one was cut off
        found, self._identity = known
        return found

    def read(self, offset: int, size: int) -> bytes:
        """Returns bytes of the file."""
        for attempt in range(RETRIES + 1):
            try:
                with open(self.path, "rb") as file:
                    file.seek(offset)
                    return file.read(size)
            except OSError:
                if attempt == RETRIES:
                    raise
                time.sleep(PAUSE * 2**attempt)
        raise AssertionError("not reached")

    def identity(self) -> object:
        """Returns the SHA-256 that the index file tells, or else the size."""
        return self._identity or self.path.stat().st_size
