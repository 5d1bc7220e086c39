"""Fetching one weight file: in ranges, resumable, checked, renamed only when it is whole."""

import fcntl
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit

from osdface.errors import UserError
from osdface.files import atomic_path
from osdface.weights.registry import Weight, size_text

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all
_CHUNK = 1 << 16  # of a transfer that breaks off the last one is lost
_PAUSE_S = 0.5  # before the first retry; doubled each time


class _Interrupted(Exception):
    """A transfer that broke off; what came stays in the ``.part`` file."""


def fetch(
    weight: Weight,
    root: Path,
    *,
    mirror: str | None = None,
    progress: Progress | None = None,
    retries: int = 3,
    timeout: float = 30.0,
) -> Path:
    """Fetches a file into ``root / weight.place`` and returns its path.

    What an earlier call left in ``NAME.part`` is gone on with, where the server answers ranges.
    The file gets its name only after size and SHA-256 (where known) are right.

    Args:
        weight: What to fetch.
        root: The weights folder; made if missing.
        mirror: Address of a folder that holds the files by name, in place of the original one.
        progress: Called after every chunk.
        retries: How often a transfer that breaks off is gone on with.
        timeout: Seconds without a byte after which it has broken off.

    Raises:
        UserError: There is no network, the server refuses, the folder cannot be written, or what
            came is another file. After a broken transfer the same call goes on.
    """
    if not (mirror or weight.fetchable):
        raise UserError(f"{weight.name} cannot be fetched by a command: {_by_hand(weight)}.")
    address = f"{mirror.rstrip('/')}/{quote(weight.name)}" if mirror else weight.address
    if urlsplit(address).scheme not in ("http", "https"):
        raise UserError(f"mirror={mirror} is wrong: an address that begins with http(s)://.")
    archived = bool(weight.member) and not mirror
    target = root / weight.place / weight.name
    part = target.with_name(f"{target.name}{'.zip' if archived else ''}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _opened(part) as file:
            _transfer(address, file, weight, progress, retries, timeout)
            if archived:
                return _unpacked(weight, part, target)
            if fault := weight.fault(part):
                part.unlink()
                raise UserError(f"{address} sent another file: {fault}; it was removed.")
            os.replace(part, target)
            return target
    except OSError as error:
        raise UserError(
            f"{target} cannot be written ({error.strerror or error}): choose another weights_dir= "
            "or make room there."
        ) from error


def _by_hand(weight: Weight) -> str:
    if weight.address:
        return f"see {weight.address} and put it anywhere below the weights folder"
    return weight.note or "it is published nowhere"


@contextmanager
def _opened(part: Path) -> Iterator[BinaryIO]:
    """The ``.part`` file at its end, held by this process alone."""
    with open(part, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = part.exists() and os.fstat(file.fileno()).st_ino == part.stat().st_ino
        except BlockingIOError:
            held = False
        if not held:  # or it was renamed to its final name between opening and locking
            raise UserError(f"Another process is fetching {part.name}: wait for it.")
        yield file


def _transfer(
    address: str,
    file: BinaryIO,
    weight: Weight,
    progress: Progress | None,
    retries: int,
    timeout: float,
) -> None:
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
                    f"Fetching {weight.name} from {urlsplit(address).netloc} failed ({broken}) "
                    f"with {had} on disk: repeat the command to go on, or fetch {address} "
                    "elsewhere and put it anywhere below the weights folder."
                ) from None
        if file.tell() == before:  # nothing came: the server wants a pause
            time.sleep(min(_PAUSE_S * 2**attempt, 10))


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


def _unpacked(weight: Weight, part: Path, target: Path) -> Path:
    """Takes the one member out of the archive that came."""
    try:
        with zipfile.ZipFile(part) as archive, atomic_path(target) as temporary:
            names = [each for each in archive.namelist() if Path(each).name == weight.member]
            if not names:
                raise UserError(f"The archive at {weight.address} holds no {weight.member}.")
            with archive.open(names[0]) as source, open(temporary, "wb") as copy:
                shutil.copyfileobj(source, copy)
            if fault := weight.fault(temporary):
                raise UserError(f"{weight.member} in {weight.address} is another file: {fault}.")
    except zipfile.BadZipFile:
        raise UserError(f"{weight.address} sent no ZIP archive; it was removed.") from None
    finally:
        part.unlink()
    return target
