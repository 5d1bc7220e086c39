"""A shard behind ``http(s)://`` that is read in ranges."""

import os
import threading
import time
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from datamodules.shards.index_file import SUFFIX, IndexCache, parse_index
from datamodules.shards.tar_index import TarIndex, scan

_sessions = threading.local()  # a connection belongs to one thread of one process
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # statuses after which a repeat may help
PAUSE = 0.25  # seconds before the first retry; doubled each time
_AHEAD = 1 << 14  # bytes fetched at once while headers are looked for


class NoRanges(Exception):
    """The server sends a file only as a whole."""


class HttpShard:
    """A shard on a server that answers range requests.

    Args:
        url: Its address; a query, such as a signature, is kept.
        retries: How often a failing request is repeated, with growing pauses.
        timeout: Seconds that one request may take, from first to last byte.
        indexes: Folder of the indexes of shards without an index file; None keeps none.
    """

    def __init__(
        self, url: str, retries: int = 3, timeout: float = 30.0, indexes: Path | None = None
    ) -> None:
        self.name, self.retries, self.timeout, self.indexes = url, retries, timeout, indexes
        self._identity: object = None
        self._size: int | None = None
        self._version = ""

    @property
    def stem(self) -> str:
        """The file name without ``.tar``."""
        return PurePosixPath(unquote(urlsplit(self.name).path)).stem

    def index(self) -> TarIndex:
        """Returns the members by the index file beside the shard, or else by ranged reads.

        Raises:
            NoRanges: The server does not answer range requests.
            OSError: It does not answer at all.
        """
        self._size = self.size()
        parts = urlsplit(self.name)
        beside = urlunsplit(parts._replace(path=f"{parts.path.removesuffix('.tar')}{SUFFIX}"))
        try:
            text = fetch(beside, self.retries, self.timeout)
        except OSError:
            text = b""
        if (known := parse_index(text, self._size)) is None:
            return self._scanned(self._size)
        found, self._identity = known
        return found

    def _scanned(self, size: int) -> TarIndex:
        """The members by the shard's headers, read once while the server's file is the same."""
        if not size:
            return TarIndex([], "the file is empty")
        address = urlunsplit(urlsplit(self.name)._replace(query="", fragment=""))
        cache = IndexCache(self.indexes, address, self._version) if self.indexes else None
        if cache and (known := cache.find(size)) is not None:
            return known
        found = scan(RangedBytes(self, size))
        if cache:
            cache.keep(found, size)
        return found

    def size(self) -> int:
        """Returns the shard's length in bytes."""
        answer = self._request({"Range": "bytes=0-0"})
        if answer.status_code == 416:
            return 0
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
        if answer.status_code != 206 or not total.isdigit():
            raise NoRanges(self.name)
        told = [answer.headers.get(name, "") for name in ("ETag", "Last-Modified")]
        self._version = " ".join(told).strip()
        return int(total)

    def read(self, offset: int, size: int) -> bytes:
        """Returns bytes of the shard."""
        if size == 0:
            return b""
        answer = self._request({"Range": f"bytes={offset}-{offset + size - 1}"})
        if answer.status_code == 416:
            return b""
        if answer.status_code != 206:
            raise OSError(0, "the server no longer answers range requests")
        data: bytes = answer.content
        return data

    def identity(self) -> object:
        """Returns the SHA-256 that the index file tells, or else the size."""
        return self._identity or self._size

    def _request(self, headers: dict[str, str]) -> Any:
        return _repeated(self.name, headers, self.retries, self.timeout)


class RangedBytes:
    """A remote shard as something to slice; what comes next is fetched along."""

    def __init__(self, shard: HttpShard, size: int) -> None:
        self.shard, self.length = shard, size
        self._start, self._data = 0, b""

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, place: slice) -> bytes:
        start, stop = place.start, place.stop
        if start < self._start or stop > self._start + len(self._data):
            wanted = max(stop - start, _AHEAD)
            self._start, self._data = start, self.shard.read(start, wanted)
        return self._data[start - self._start : stop - self._start]


def fetch(url: str, retries: int = 3, timeout: float = 30.0) -> bytes:
    """Returns a small file from a server; raises OSError if it cannot be had."""
    content: bytes = _repeated(url, {}, retries, timeout).content
    return content


def _repeated(url: str, headers: dict[str, str], retries: int, timeout: float) -> Any:
    for attempt in range(retries + 1):
        try:
            return _get(url, headers, timeout)
        except OSError as error:
            if attempt == retries or getattr(error, "final", False):
                raise
        time.sleep(min(PAUSE * 2**attempt, 10))
    raise AssertionError("not reached")


class StatusError(OSError):
    """The server refuses; ``final`` tells that a repeat is of no use."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, f"HTTP {status} {reason}".strip())
        self.final = status not in _PASSING


def _get(url: str, headers: dict[str, str], timeout: float) -> Any:
    """Returns the answer with its whole body; raises OSError for all that can go wrong."""
    import requests  # only now: most data are local

    if getattr(_sessions, "process", None) != os.getpid():
        _sessions.process, _sessions.session = os.getpid(), requests.Session()
    deadline = time.monotonic() + timeout
    try:
        # Not compressed: a range counts the bytes of the file.
        headers = {"Accept-Encoding": "identity", **headers}
        with _sessions.session.get(url, headers=headers, timeout=timeout, stream=True) as answer:
            if answer.status_code >= 400 and answer.status_code != 416:
                raise StatusError(answer.status_code, answer.reason)
            if answer.status_code == 200 and "Range" in headers:
                return answer  # the whole file: nobody wants its body here
            body = bytearray()
            for chunk in answer.iter_content(1 << 16):
                body += chunk
                if time.monotonic() > deadline:
                    raise OSError(0, f"no whole answer within {timeout:g} s")
            if len(body) < int(answer.headers.get("Content-Length", 0)):
                raise OSError(0, "the answer was cut off")
            answer._content = bytes(body)
            return answer
    except requests.RequestException as error:
        raise OSError(0, f"{type(error).__name__}") from error
