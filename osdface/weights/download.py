"""Fetching one weight file: in ranges, resumable, checked, renamed only when it is whole."""

import fcntl
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlsplit

from osdface.errors import UserError
from osdface.files import atomic_path
from osdface.weights.registry import Weight
from osdface.weights.transfer import Progress, transfer


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
            transfer(address, file, weight.name, progress, retries, timeout)
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
