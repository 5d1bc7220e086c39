"""A folder of pictures into shards, restartable at every shard."""

import csv
import io
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from datamodules.shards.index_file import write_index
from datamodules.shards.writer import MANIFEST, write_shard
from datamodules.splits import held_out
from experiments.cli.lock import FolderLock
from experiments.data_tools.journal import Journal
from experiments.data_tools.listing import Picture, list_pictures, partners
from experiments.data_tools.preparing import Encoding, in_order
from experiments.data_tools.samples import UsableSamples, prepare_pair
from osdface.degradation import stable_hash
from osdface.errors import UserError
from osdface.files import write_json, write_text

REPORT = "report.csv"


@dataclass(frozen=True)
class ShardSettings:
    """What is made; the fields are the keys of the command."""

    source: Path
    output: Path
    encoding: Encoding = field(default_factory=Encoding)
    shard_size: int = 1000
    val_share: float = 0.02
    identity_from: str = "none"
    pair_with: Path | None = None
    workers: int = 1


def make_shards(settings: ShardSettings, progress: bool = True) -> dict[str, Any]:
    """Writes the shards, their indexes, a manifest and the report of what was left out.

    Shards that an earlier call with the same settings has finished are kept: the result is the same
    bytes however often it was interrupted. While it works, the folder has a hidden journal.

    Returns:
        The manifest, see :func:`datamodules.shards.writer.write_shards`.

    Raises:
        UserError: No picture, none readable, settings that differ from those of the shards already
            there, or a folder that cannot be written.
    """
    pictures, others = list_pictures(settings.source, without=settings.output)
    pairs = partners(pictures, settings.pair_with) if settings.pair_with else {}
    splits = _splits(pictures, settings)
    plan = _plan(settings, pictures, pairs)
    try:
        settings.output.mkdir(parents=True, exist_ok=True)
        lock = _lock(settings.output)
        try:
            journal = Journal(settings.output, plan)
            if journal.manifest is not None:
                return journal.manifest
            manifest = _make(settings, splits, pairs, others, plan, journal, progress)
            journal.close()
            return manifest
        finally:
            lock.release()
    except OSError as error:
        raise UserError(
            f"Shards cannot be written to {settings.output} ({error.strerror}): make room or "
            "choose another output=; the same command then goes on."
        ) from error


def _lock(output: Path) -> FolderLock:
    """Holds the folder; workers of a process that was just killed hold it a moment longer."""
    lock = FolderLock(output)
    for _ in range(30):
        if lock.acquire():
            return lock
        time.sleep(0.1)
    raise UserError(f"Another process makes shards in {output}: wait for its end.")


def _make(
    settings: ShardSettings,
    splits: dict[str, list[Picture]],
    pairs: dict[str, Path],
    others: list[tuple[str, str]],
    plan: dict[str, Any],
    journal: Journal,
    progress: bool,
) -> dict[str, Any]:
    left_out = list(others)
    found: dict[str, Any] = {}
    total = sum(len(own) for own in splits.values())
    with tqdm(total=total, desc="making shards", unit="image", disable=not progress) as bar:
        for split, own in splits.items():
            done = _make_split(settings, split, own, pairs, journal, bar)
            left_out += [(name, reason) for entry in done for name, reason in entry["left_out"]]
            shards = [entry["shard"] for entry in done if entry["shard"]]
            sums = {name: sum(shard[name] for shard in shards) for name in ("samples", "bytes")}
            found[split] = sums | {"shards": shards}
    if not found["train"]["samples"]:
        raise UserError(
            f"None of the {total} images below {settings.source} can be used, for example "
            f"{left_out[-1][0]} ({left_out[-1][1]})."
        )
    manifest = {"version": 1, "settings": plan, "left_out": len(left_out), "splits": found}
    rows = io.StringIO()
    # Names that are no UTF-8 are written with escapes.
    csv.writer(rows, lineterminator="\n").writerows([("file", "reason"), *sorted(left_out)])
    text = rows.getvalue().encode("utf-8", "backslashreplace").decode()
    write_text(settings.output / REPORT, text)
    write_json(settings.output / MANIFEST, manifest)
    return manifest


def _make_split(
    settings: ShardSettings,
    split: str,
    pictures: list[Picture],
    pairs: dict[str, Path],
    journal: Journal,
    bar: Any,
) -> list[dict[str, Any]]:
    """Returns the journal's entries of a split: each a shard and what was left out before it."""
    done = journal.entries(split)
    taken = sum(entry["taken"] for entry in done)
    bar.update(taken)
    bar.unpause()  # the time left counts from here
    rest = pictures[taken:]
    jobs = ((picture.path, pairs.get(picture.key), settings.encoding) for picture in rest)
    results = zip(rest, in_order(prepare_pair, jobs, settings.workers), strict=True)
    count = UsableSamples(results, settings.pair_with is not None, bar)
    while (first := next(count, None)) is not None:
        name = f"{split}-{len(done):06d}.tar"
        shard = write_shard(settings.output / name, count.up_to(first, settings.shard_size))
        write_index(settings.output / name, shard["sha256"])
        done.append({"shard": shard, **count.taken_now()})
        journal.add(split, len(done) - 1, done[-1])
    return [*done, {"shard": None, **count.taken_now()}]


def _splits(pictures: list[Picture], settings: ShardSettings) -> dict[str, list[Picture]]:
    keys = [picture.key for picture in pictures]
    if not settings.val_share:
        return {"train": pictures}
    chosen = held_out(keys, 0, None, settings.val_share, settings.identity_from)
    pick = partial(map, pictures.__getitem__)
    return {split: list(pick(own)) for split, own in zip(("train", "val"), chosen, strict=True)}


def _plan(
    settings: ShardSettings, pictures: list[Picture], pairs: dict[str, Path]
) -> dict[str, Any]:
    """What decides the bytes of the shards; the number of workers does not."""
    parts = [part for each in pictures for part in (each.source, each.bytes)]
    parts += [f"{key}:{path.name}:{path.stat().st_size}" for key, path in sorted(pairs.items())]
    return {
        **asdict(settings.encoding),
        "shard_size": settings.shard_size,
        "split.val": settings.val_share,
        "identity_from": settings.identity_from,
        "pair_with": settings.pair_with is not None,
        "images": len(pictures),
        "sources": f"{stable_hash(*parts):032x}",
    }
