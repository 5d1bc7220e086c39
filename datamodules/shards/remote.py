"""From what ``data.urls`` names to shards that can be read, the remote ones several at a time."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from datamodules.shards.http_shard import HttpShard, NoRanges
from datamodules.shards.places import LocalShard, Shard
from datamodules.shards.spool import SpooledShard
from datamodules.shards.tar_index import TarIndex
from osdface.errors import UserError

logger = logging.getLogger(__name__)
_AT_ONCE = 8


@dataclass(frozen=True)
class Remote:
    """How remote shards are read.

    Attributes:
        spool: Folder of copies of those that can only be read through.
        retries: How often a failing request is repeated.
        timeout: Seconds after which one has failed.
        max_lost_share: Share of shards that may be unreachable at the start; they are left out.
        indexes: Folder of the indexes of remote shards that have no index file; None keeps none.
    """

    spool: Path = Path("outputs/cache/spool")
    retries: int = 3
    timeout: float = 30.0
    max_lost_share: float = 0.05
    indexes: Path | None = None


def open_shards(
    places: Sequence[Path | str], remote: Remote
) -> tuple[list[tuple[Shard, TarIndex]], dict[str, str]]:
    """Opens shards and reads their indexes.

    Args:
        places: What :func:`~datamodules.shards.urls.expand_urls` returns.
        remote: How remote ones are read.

    Returns:
        The shards with their members, in order, and what is wrong with those that are left out.

    Raises:
        UserError: More than ``max_lost_share`` of the shards cannot be reached.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = list(pool.map(lambda place: _open(place, remote), places))
    lost = {
        str(place): each.strerror or str(each)
        for place, each in zip(places, found, strict=True)
        if isinstance(each, OSError)
    }
    if len(lost) > remote.max_lost_share * len(places):
        name, reason = next(iter(lost.items()))
        raise UserError(
            f"{len(lost)} of {len(places)} shards cannot be reached, first {name} ({reason}): "
            "correct data.urls, or raise data.max_broken_share to do without them."
        )
    for name, reason in lost.items():
        logger.warning("The shard %s cannot be reached (%s) and is left out.", name, reason)
    kept = [each for each in found if isinstance(each, tuple)]
    return kept, lost


def _open(place: Path | str, remote: Remote) -> tuple[Shard, TarIndex] | OSError:
    shard: Shard
    try:
        if isinstance(place, Path):
            shard = LocalShard(place)
            return shard, shard.index()
        if not place.startswith("pipe:"):
            try:
                shard = HttpShard(place, remote.retries, remote.timeout, remote.indexes)
                return shard, shard.index()
            except NoRanges:
                logger.info("%s answers no range requests: it is read through once.", place)
        shard = SpooledShard(place, remote.spool, remote.retries, remote.timeout)
        return shard, shard.index()
    except OSError as error:
        return OSError(error.errno, error.strerror or str(error))
