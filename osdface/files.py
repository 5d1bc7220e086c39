"""Files that are whole or absent: atomic writes, JSON, checksums."""

import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _share(path: Path) -> None:
    """Gives a file what the umask allows: safetensors writes for its owner alone."""
    mask = os.umask(0o077)
    os.umask(mask)
    path.chmod(path.stat().st_mode | (0o666 & ~mask))


def _name(error: OSError, path: Path) -> None:
    """Writes the file's name into an error, which a write that fails does not carry."""
    if error.errno is not None:  # without a number there is no place for one
        error.filename = str(path)


def append_text(path: str | Path, text: str) -> None:
    """Appends UTF-8 text; one that was cut off by a full disk or a kill ends in no newline."""
    try:
        with open(path, "a", encoding="utf-8", newline="") as file:
            file.write(text)
    except OSError as error:
        _name(error, Path(path))
        raise


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` that is renamed onto it when the block succeeds.

    The temporary name keeps the suffix, because image writers choose the format by it. After an
    error nothing is left: neither the temporary file nor a half-written target.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        _fsync(temporary)
        _share(temporary)
        os.replace(temporary, path)
        _fsync(path.parent)
    except OSError as error:
        if error.filename in (None, str(temporary)):
            _name(error, path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path, replace: bool = False) -> Iterator[Path]:
    """Yields a temporary folder beside ``path`` that is renamed onto it when the block succeeds.

    Its files are on the disk by then: after a power cut a folder that is there is whole. If another
    process has meanwhile finished the same folder, that one is kept; with ``replace``
    a folder that is there is moved aside and removed once the new one is in its place.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    aside = temporary.with_name(f"{temporary.name}.old")
    temporary.mkdir()
    try:
        yield temporary
        for file in [*temporary.rglob("*"), temporary]:
            if file.is_file():
                _share(file)
            if file.exists():  # no link to nowhere
                _fsync(file)
        if replace and path.is_dir():
            os.replace(path, aside)
        try:
            os.replace(temporary, path)
        except OSError:
            if aside.is_dir() and not path.exists():
                os.replace(aside, path)
            if not path.is_dir():
                raise
        _fsync(path.parent)
    finally:
        for folder in (temporary, aside):
            shutil.rmtree(folder, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Writes ``value`` as indented JSON atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Reads JSON; a missing or broken file raises the standard library's error."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def sha256_file(path: str | Path) -> str:
    """Returns the hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Waits for and holds a lock that the system releases even if this process is killed."""
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # a file system without locks: both work, the last rename wins
            yield
            return
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
