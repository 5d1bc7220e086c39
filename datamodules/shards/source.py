"""Random access to the samples of local shards."""

import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datamodules.records import BrokenSample, Record
from datamodules.shards.tar_index import Member, index_tar
from datamodules.shards.urls import expand_urls
from datamodules.shards.writer import MANIFEST
from datamodules.splits import identity_labels
from osdface.degradation import stable_hash
from osdface.errors import UserError
from osdface.files import read_json

logger = logging.getLogger(__name__)

_IMAGES = ("png", "jpg", "jpeg", "webp")


class ShardSource:
    """Local WebDataset shards as a :class:`~datamodules.records.Source`.

    Only tar headers are read here; an image is read when it is asked for, with one seek. A damaged
    shard keeps its whole samples and is reported in :attr:`damaged` and the log.

    Args:
        urls: See :func:`~datamodules.shards.urls.expand_urls`.
        root: Folder that relative ``urls`` are below.
        identity_from: How a key names a person, where a sample's JSON holds no ``identity``.

    Attributes:
        shards: The shards' paths.
        keys: Unique keys in the order of the shards; a key that several samples share is preceded
            by its shard's name.
        damaged: Shard path -> what is wrong with it.

    Raises:
        UserError: No shard, no sample, a remote shard.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        root: str | Path | None = None,
        identity_from: str | None = "stem_prefix",
    ) -> None:
        self.shards = expand_urls(urls, root)
        self.damaged: dict[Path, str] = {}
        self._samples: list[tuple[int, Member, Member | None]] = []
        names: list[str] = []
        for number, shard in enumerate(self.shards):
            for key, parts in self._grouped(shard).items():
                image = next((parts[suffix] for suffix in _IMAGES if suffix in parts), None)
                if image is not None:
                    names.append(key)
                    self._samples.append((number, image, parts.get("json")))
        if not names:
            raise UserError(
                f"No image in {len(self.shards)} shard(s), first {self.shards[0]}: their members "
                f"must end in .{', .'.join(_IMAGES)}."
            )
        repeated = {name for name, count in Counter(names).items() if count > 1}
        self.keys = [
            f"{self.shards[number].stem}-{name}" if name in repeated else name
            for name, (number, _, _) in zip(names, self._samples, strict=True)
        ]
        self.identities = identity_labels(names, identity_from)

    def _grouped(self, shard: Path) -> dict[str, dict[str, Member]]:
        index = index_tar(shard)
        if index.damage:
            self.damaged[shard] = index.damage
            logger.warning(
                "The shard %s is damaged: %s; its %d whole members are used.",
                shard, index.damage, len(index.members),
            )  # fmt: skip
        groups: dict[str, dict[str, Member]] = {}
        for member in index.members:
            folder, _, name = member.name.rpartition("/")
            stem, _, suffix = name.partition(".")
            if stem:  # hidden files have none
                key = f"{folder}/{stem}" if folder not in ("", ".") else stem
                groups.setdefault(key.replace("/", "__"), {})[suffix.lower()] = member
        return groups

    def read(self, index: int) -> Record:
        """Reads one sample's bytes; images are not decoded."""
        number, image, labels = self._samples[index]
        try:
            with open(self.shards[number], "rb") as file:
                data = _read(file, image)
                meta: dict[str, Any] = json.loads(_read(file, labels)) if labels else {}
        except OSError as error:
            raise BrokenSample(f"{self.shards[number]}: {error.strerror}") from error
        except ValueError as error:
            raise BrokenSample(f"{self.shards[number]}: {error}") from error
        identity = int(meta.get("identity", self.identities[index]))
        return Record(self.keys[index], data, identity, meta)

    def fingerprint(self) -> str:
        """Returns a hash of the shards' checksums from their manifests, else of names and sizes."""
        parts: list[object] = []
        checksums: dict[Path, dict[str, str]] = {}
        for shard in self.shards:
            if shard.parent not in checksums:
                checksums[shard.parent] = manifest_checksums(shard.parent)
            known = checksums[shard.parent].get(shard.name)
            parts += [shard.name, known or shard.stat().st_size]
        return f"{stable_hash(*parts, *self.keys):032x}"


def _read(file: Any, member: Member) -> bytes:
    file.seek(member.offset)
    data: bytes = file.read(member.size)
    if len(data) < member.size:
        raise ValueError(f"{member.name} is cut off")
    return data


def manifest_checksums(folder: Path) -> dict[str, str]:
    """Returns shard name -> SHA-256 of the folder's manifest; empty without one."""
    try:
        splits = read_json(folder / MANIFEST)["splits"].values()
        return {shard["name"]: shard["sha256"] for split in splits for shard in split["shards"]}
    except (OSError, ValueError, KeyError):
        return {}


def split_urls(folder: str | Path, split: str) -> list[str]:
    """Returns the shards of a split that a folder's manifest names; empty if it names none.

    Raises:
        UserError: The folder or its manifest is missing or broken.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"The shard folder {folder} does not exist: correct data.root.")
    try:
        splits = read_json(folder / MANIFEST)["splits"]
        return [shard["name"] for shard in splits.get(split, {"shards": []})["shards"]]
    except OSError:
        raise UserError(f"{folder} holds no {MANIFEST}: give data.urls, such as '*.tar'.") from None
    except (ValueError, KeyError):
        raise UserError(f"{folder / MANIFEST} is broken: make the shards again.") from None
