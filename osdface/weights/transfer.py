"""Moving a file's bytes over HTTP: what broke off is gone on with, where the server has ranges."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from osdface.errors import UserError
from osdface.weights.registry import size_text

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all
_CHUNK = 1 << 16  # of a transfer that breaks off the last one is lost
PAUSE_S = 0.5  # before the first retry; doubled each time


class _Interrupted(Exception):
    """A transfer that broke off; what came stays in the file."""


def transfer(
    address: str,
    file: BinaryIO,
    name: str,
    progress: Progress | None = None,
    retries: int = 3,
    timeout: float = 30.0,
) -> None:
    """Appends to ``file`` what it lacks of the file at ``address``.

    Args:
        address: ``http(s)://``.
        file: Opened for appending; what it holds is the file's beginning.
        name: What is fetched, for sentences.
        progress: Called after every chunk.
        retries: How often a transfer that breaks off is gone on with.
        timeout: Seconds without a byte after which it has broken off.

    Raises:
        UserError: The server refuses, or the transfer broke off once too often; what came is kept.
    """
    for attempt in range(retries + 1):
        before = file.tell()
        try:
            _receive(address, file, progress, timeout)
            file.flush()
            os.fsync(file.fileno())
            return
        except _Interrupted as broken:
            if attempt == retries:
                file.flush()
                if not file.tell():
                    Path(file.name).unlink()
                had = size_text(file.tell())
                raise UserError(
                    f"Fetching {name} from {urlsplit(address).netloc} failed ({broken}) "
                    f"with {had} on disk: repeat the command to go on, or fetch {address} "
                    "elsewhere and put it anywhere below the weights folder."
                ) from None
        if file.tell() == before:  # nothing came: the server wants a pause
            time.sleep(min(PAUSE_S * 2**attempt, 10))


def _receive(address: str, file: BinaryIO, progress: Progress | None, timeout: float) -> None:
    import requests  # only now: most commands fetch nothing

    start = file.tell()
    # Not compressed: a range counts the bytes of the file.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        with requests.get(address, headers=headers, stream=True, timeout=timeout) as answer:
            total = _begin(answer, file, start)
            if total is None or file.tell() < total:
                for chunk in answer.iter_content(_CHUNK):
                    file.write(chunk)
                    if progress:
                        progress(file.tell(), total)
            if total is not None and file.tell() < total:
                raise _Interrupted("the connection was cut")
    except requests.RequestException as error:
        raise _Interrupted(_reason(error)) from error


def _begin(answer: Any, file: BinaryIO, start: int) -> int | None:
    """Looks at an answer's head, empties the file if it begins anew; returns the whole length."""
    if answer.status_code == 416:  # nothing behind what is here
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
        if total == str(start):
            return start
        _empty(file)  # it is no part of what the server has
        raise _Interrupted("what was on disk is longer than the file")
    if answer.status_code == 206:
        span, _, total = answer.headers.get("Content-Range", "").partition("/")
        if span.startswith(f"bytes {start}-"):
            return int(total) if total.isdigit() else None
    elif answer.status_code != 200:
        if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
            raise _Interrupted(f"HTTP {answer.status_code} {answer.reason}".strip())
        raise UserError(f"{answer.url} is refused: HTTP {answer.status_code} {answer.reason}.")
    _empty(file)  # a server without ranges sends everything again
    if answer.status_code == 206:
        raise _Interrupted("the server sent another range")
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def _empty(file: BinaryIO) -> None:
    file.truncate(0)
    file.seek(0)


def _reason(error: Exception) -> str:
    name = type(error).__name__
    return "no network, or the server does not answer" if name == "ConnectionError" else name
