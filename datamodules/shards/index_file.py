"""``<shard>.idx``: where each member lies, so that a reader need not look for it."""

import json
from pathlib import Path
from typing import Any

from datamodules.shards.tar_index import Member, TarIndex, index_tar
from osdface.files import write_text

SUFFIX = ".idx"


def write_index(shard: Path, sha256: str) -> None:
    """Writes the index of a whole shard beside it; raises OSError if it cannot be written."""
    rows = [[member.name, member.offset, member.size] for member in index_tar(shard).members]
    head = {"version": 1, "bytes": shard.stat().st_size, "sha256": sha256}
    text = json.dumps(head | {"members": rows}, separators=(",", ":"))
    write_text(shard.with_suffix(SUFFIX), text + "\n")


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
