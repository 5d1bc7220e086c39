"""Random access to the samples of shards."""

import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datamodules.records import BrokenSample, Record
from datamodules.shards.manifest import manifest_checksums
from datamodules.shards.places import Shard
from datamodules.shards.remote import Remote, open_shards
from datamodules.shards.tar_index import Member, TarIndex
from datamodules.shards.urls import expand_urls
from datamodules.shards.writer import RETOUCHED
from datamodules.splits import identity_labels
from osdface.degradation import stable_hash
from osdface.errors import UserError

logger = logging.getLogger(__name__)

TARGETS = ("original", "retouched", "mix")
_IMAGES = ("png", "jpg", "jpeg", "webp")


class ShardSource:
    """WebDataset shards as a :class:`~datamodules.records.Source`.

    Only index files or tar headers are read here; an image is read when it is asked for, with one
    seek or one range request. A damaged shard keeps its whole samples and is reported in
    :attr:`damaged` and the log. Shards that can only be read through are first copied, see
    :mod:`datamodules.shards.spool`.

    Args:
        urls: See :func:`~datamodules.shards.urls.expand_urls`.
        root: Folder that relative ``urls`` are below.
        identity_from: How a key names a person, where a sample's JSON holds no ``identity``.
        target: Which image of a sample is meant where ``<key>.retouched.<suffix>`` stands beside
            ``<key>.<suffix>``: "original", "retouched", or "mix" for both.
        remote: How remote shards are read.

    Attributes:
        shards: The shards.
        keys: Unique keys in the order of the shards; a key that several samples share is preceded
            by its shard's name.
        damaged: Shard (path, or address) -> what is wrong with it.

    Raises:
        UserError: No shard, no sample, shards that cannot be reached, no retouched image.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        root: str | Path | None = None,
        identity_from: str | None = "stem_prefix",
        target: str = "original",
        remote: Remote | None = None,
    ) -> None:
        if target not in TARGETS:
            raise UserError(f"data.target is {target!r}: choose one of {', '.join(TARGETS)}.")
        places = expand_urls(urls, root)
        opened, lost = open_shards(places, remote or Remote())
        self.shards = [shard for shard, _ in opened]
        self.target = target
        self.damaged: dict[Path | str, str] = dict(lost)
        self._samples: list[tuple[int, Member, Member | None, Member | None]] = []
        names: list[str] = []
        for number, (shard, index) in enumerate(opened):
            self._note_damage(shard, index)
            for key, parts in grouped(index.members).items():
                image, retouched = _image(parts), _image(parts, f"{RETOUCHED}.")
                if target == "retouched":
                    image, retouched = retouched, None
                if image is not None:
                    names.append(key)
                    other = retouched if target == "mix" else None
                    self._samples.append((number, image, other, parts.get("json")))
        if not names:
            what = "retouched image" if target == "retouched" else "image"
            raise UserError(
                f"No {what} in {len(places)} shard(s), first {places[0]}: their members must end "
                f"in .{', .'.join(_IMAGES)}"
                + (", with .retouched before it." if target == "retouched" else ".")
            )
        if target == "mix" and not any(other for _, _, other, _ in self._samples):
            raise UserError(
                f"No retouched image in {len(places)} shard(s), first {places[0]}: make shards "
                "with pair_with=DIR, or set data.target=original."
            )
        repeated = {name for name, count in Counter(names).items() if count > 1}
        self.keys = [
            f"{self.shards[sample[0]].stem}-{name}" if name in repeated else name
            for name, sample in zip(names, self._samples, strict=True)
        ]
        self.identities = identity_labels(names, identity_from)

    def _note_damage(self, shard: Shard, index: TarIndex) -> None:
        if index.damage:
            self.damaged[getattr(shard, "path", shard.name)] = index.damage
            logger.warning(
                "The shard %s is damaged: %s; its %d whole members are used.",
                shard.name, index.damage, len(index.members),
            )  # fmt: skip

    def read(self, index: int) -> Record:
        """Reads one sample's bytes; images are not decoded."""
        number, image, other, labels = self._samples[index]
        shard = self.shards[number]
        try:
            data = _read(shard, image)
            retouched = _read(shard, other) if other else None
            meta: dict[str, Any] = json.loads(_read(shard, labels)) if labels else {}
        except OSError as error:
            raise BrokenSample(f"{shard.name}: {error.strerror}") from error
        except ValueError as error:
            raise BrokenSample(f"{shard.name}: {error}") from error
        identity = int(meta.get("identity", self.identities[index]))
        return Record(self.keys[index], data, identity, meta, retouched)

    def fingerprint(self) -> str:
        """Returns a hash of the shards' checksums by index or manifest, else of names and sizes."""
        parts: list[object] = [] if self.target == "original" else [self.target]
        checksums: dict[Path, dict[str, str]] = {}
        for shard in self.shards:
            path = getattr(shard, "path", None)
            if path is None:
                parts += [shard.stem, shard.identity()]
                continue
            if path.parent not in checksums:
                checksums[path.parent] = manifest_checksums(path.parent)
            parts += [path.name, checksums[path.parent].get(path.name) or shard.identity()]
        return f"{stable_hash(*parts, *self.keys):032x}"


def grouped(members: Sequence[Member]) -> dict[str, dict[str, Member]]:
    """Returns key -> suffix -> member; a name's suffix begins at its first dot."""
    groups: dict[str, dict[str, Member]] = {}
    for member in members:
        folder, _, name = member.name.rpartition("/")
        stem, _, suffix = name.partition(".")
        if stem:  # hidden files have none
            key = f"{folder}/{stem}" if folder not in ("", ".") else stem
            groups.setdefault(key.replace("/", "__"), {})[suffix.lower()] = member
    return groups


def _image(parts: dict[str, Member], before: str = "") -> Member | None:
    return next((parts[before + end] for end in _IMAGES if before + end in parts), None)


def _read(shard: Shard, member: Member) -> bytes:
    data = shard.read(member.offset, member.size)
    if len(data) < member.size:
        raise ValueError(f"{member.name} is cut off")
    return data
