"""``<shard>.idx``: where each member lies, so that a reader need not look for it."""

import json
import logging
from pathlib import Path
from typing import Any

from datamodules.shards.tar_index import Member, TarIndex, index_tar
from osdface.degradation import stable_hash
from osdface.files import write_text

logger = logging.getLogger(__name__)
SUFFIX = ".idx"


def write_index(shard: Path, sha256: str) -> None:
    """Writes the index of a whole shard beside it; raises OSError if it cannot be written."""
    text = _index_text(index_tar(shard), shard.stat().st_size, sha256)
    write_text(shard.with_suffix(SUFFIX), text)


def _index_text(index: TarIndex, size: int, sha256: str) -> str:
    rows = [[member.name, member.offset, member.size] for member in index.members]
    head = {"version": 1, "bytes": size, "sha256": sha256}
    return json.dumps(head | {"members": rows}, separators=(",", ":")) + "\n"


def parse_index(text: str | bytes, size: int) -> tuple[TarIndex, str] | None:
    """Returns the members and the shard's SHA-256 as an index file tells them.

    Args:
        text: The file's content.
        size: Bytes of the shard that it shall describe.

    Returns:
        None where the index is broken, or belongs to a shard of another size.
    """
    try:
        content: dict[str, Any] = json.loads(text)
        if content["version"] != 1 or content["bytes"] != size:
            return None
        members = [Member(str(name), int(at), int(long)) for name, at, long in content["members"]]
        return TarIndex(members), str(content["sha256"])
    except (ValueError, KeyError, TypeError):
        return None


class IndexCache:
    """Indexes of remote shards whose headers were read once; none where nothing tells a change.

    Args:
        folder: Where they lie; made when the first one is written.
        address: The shard's, without what changes from day to day, such as a signature.
        version: What the server gives to tell a change: entity tag and time; empty: keep nothing.
    """

    def __init__(self, folder: Path, address: str, version: str) -> None:
        self.path = folder / f"{stable_hash(address, version):032x}{SUFFIX}" if version else None

    def find(self, size: int) -> TarIndex | None:
        """Returns the members of the shard of this size, None if they are not known."""
        try:
            known = parse_index(self.path.read_bytes(), size) if self.path else None
        except OSError:
            return None
        return known[0] if known else None

    def keep(self, index: TarIndex, size: int) -> None:
        """Writes the index of a whole shard; a damaged one is looked at anew each time."""
        if self.path is None or index.damage:
            return
        try:
            # Without a checksum: nobody has read the whole shard.
            write_text(self.path, _index_text(index, size, ""))
        except OSError as error:
            logger.warning(
                "The index %s cannot be kept (%s): every start reads the shard's headers anew.",
                self.path, error.strerror,
            )  # fmt: skip
