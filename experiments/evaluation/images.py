"""Images of a folder or of WebDataset shards, of which bytes are read when they are wanted."""

import glob
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from datamodules.shards.places import Shard
from datamodules.shards.remote import Remote, open_shards
from datamodules.shards.source import grouped
from datamodules.shards.tar_index import Member
from datamodules.shards.urls import expand_urls, is_remote
from osdface.errors import UserError
from osdface.picture_reading import PICTURE_SUFFIXES

_HEAD = 1 << 16  # bytes, in which the size of all but odd pictures stands


class ImageFile(Protocol):
    """An image that can be read at any time and in any process.

    ``name`` is what the reader calls it, ``stem`` what it is paired by.
    """

    @property
    def name(self) -> str: ...

    @property
    def stem(self) -> str: ...

    def read(self) -> bytes:
        """Returns its bytes; OSError where that cannot be done."""
        ...

    def head(self) -> bytes:
        """Returns its first bytes, or all of them."""
        ...


@dataclass(frozen=True)
class FolderImage:
    """A file."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def stem(self) -> str:
        return self.path.stem

    def read(self) -> bytes:
        return self.path.read_bytes()

    def head(self) -> bytes:
        with open(self.path, "rb") as file:
            return file.read(_HEAD)


@dataclass(frozen=True)
class ShardImage:
    """A member of a shard; ``stem`` is the sample's key."""

    shard: Shard
    member: Member
    stem: str

    @property
    def name(self) -> str:
        return f"{self.shard.name}/{self.member.name}"

    def read(self) -> bytes:
        return self._read(self.member.size)

    def head(self) -> bytes:
        return self._read(min(_HEAD, self.member.size))

    def _read(self, size: int) -> bytes:
        data = self.shard.read(self.member.offset, size)
        if len(data) < size:
            raise OSError(f"{self.name} is cut off")
        return data


def find_images(given: str | Path, key: str) -> tuple[dict[str, ImageFile], list[str]]:
    """Returns stem -> image in the order of their names, and what is wrong with whole shards.

    Args:
        given: A folder of pictures (those below it are not looked at), a folder of shards, or
            shards by path, glob, brace range or address.
        key: What a mistake calls it.

    Raises:
        UserError: There is no such thing, no picture in it, or two pictures of one stem.
    """
    root = Path(given).expanduser()
    faults: list[str] = []
    if root.is_dir():
        found = list[ImageFile](map(FolderImage, _pictures(root)))
        if not found and (shards := sorted(root.glob("*.tar"))):
            found, faults = _in_shards([str(path) for path in shards], key)
    elif _names_shards(str(given)):
        patterns = [str(Path(each).expanduser()) if not is_remote(each) else each
                    for each in str(given).split("::")]  # fmt: skip
        found, faults = _in_shards(patterns, key)
    else:
        raise UserError(f"{key}={given} is no folder and no shard.")
    if not found:
        raise UserError(f"{key}={given} holds no picture.")
    return _by_stem(found, key), faults


def _names_shards(text: str) -> bool:
    return text.endswith(".tar") or "::" in text or is_remote(text) or glob.has_magic(text)


def _pictures(root: Path) -> list[Path]:
    return sorted(
        path
        for path in root.iterdir()
        if path.suffix.lower() in PICTURE_SUFFIXES and path.name[0] != "." and path.is_file()
    )


def _in_shards(patterns: list[str], key: str) -> tuple[list[ImageFile], list[str]]:
    places = expand_urls("::".join(patterns), key=f"{key}=")
    opened, lost = open_shards(places, Remote(max_lost_share=1))
    faults = [f"{name}: {reason}" for name, reason in lost.items()]
    found: list[ImageFile] = []
    for shard, index in opened:
        if index.damage:
            faults.append(f"{shard.name}: {index.damage}")
        samples = grouped(index.members)
        found += [
            ShardImage(shard, member, stem)
            for stem, parts in samples.items()
            if (member := _picture_of(parts)) is not None
        ]
    if faults and not found:
        raise UserError(f"{key}= cannot be read: {faults[0]}.")
    return found, faults


def _picture_of(parts: Mapping[str, Member]) -> Member | None:
    """The sample's picture itself, not what stands beside it, such as ``retouched.png``."""
    return next((parts[end[1:]] for end in PICTURE_SUFFIXES if end[1:] in parts), None)


def _by_stem(images: list[ImageFile], key: str) -> dict[str, ImageFile]:
    found: dict[str, ImageFile] = {}
    for image in images:
        if image.stem in found:
            names = f"{found[image.stem].name} and {image.name}"
            raise UserError(f"{key}= holds two pictures of one stem, {names}: which one?")
        found[image.stem] = image
    return found
