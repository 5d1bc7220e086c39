"""The registry: every weight file that a command may need, read from ``registry.toml``.

Only data and look-ups; nothing is loaded and nothing fetched. Imports nothing but the standard
library, so that a sentence about a missing file costs no time.
"""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from osdface.files import sha256_file

TABLE = Path(__file__).with_name("registry.toml")
PRESENT, MISSING, WRONG = "present", "missing", "wrong"


@dataclass(frozen=True)
class Weight:
    """One entry of the registry.

    Attributes:
        name: File name by which it is found anywhere below the weights folder; of several files
            that belong together, the name of the whole.
        needed_by: Which commands, settings or figures need it.
        licence: What its origin states.
        address: Where it was published; empty where it is not.
        place: Folder below the weights folder that a download puts it into. Torch's, pyiqa's and
            CLIP's files lie as below their ``TORCH_HOME``.
        size: In bytes; None where it is not known.
        sha256: Hexadecimal, or its first digits where no more is published; empty if not known.
        proof: What size and SHA-256 rest on: ``measured`` on the file, ``stated`` in public
            records, ``name`` (digits that the publisher put into the file's name).
        member: Its name in the archive at ``address``, where that is a ZIP file.
        by_hand: The address is a page to read, not a file to fetch.
        files: Of several files that belong together, their paths below one folder.
        note: What else there is to know.
    """

    name: str
    needed_by: str
    licence: str
    address: str = ""
    place: str = ""
    size: int | None = None
    sha256: str = ""
    proof: str = ""
    member: str = ""
    by_hand: bool = False
    files: tuple[str, ...] = field(default=())
    note: str = ""

    @property
    def fetchable(self) -> bool:
        """Whether a command can fetch it."""
        return bool(self.address) and not self.by_hand and not self.files

    def find(self, root: Path) -> Path | None:
        """Returns where it lies below ``root``; of several files, their folder."""
        for path in sorted(root.rglob(self.files[0] if self.files else self.name)):
            folder = path
            for _ in Path(self.files[0]).parts if self.files else ():
                folder = folder.parent
            if path.is_file() and all((folder / each).is_file() for each in self.files):
                return folder
        return None

    def fault(self, path: Path) -> str:
        """Returns what is wrong with a file that should be this one, or nothing."""
        found = path.stat().st_size
        if self.size is not None and found != self.size:
            return f"it has {found:,} bytes where {self.size:,} are expected"
        if self.sha256 and not (digest := sha256_file(path)).startswith(self.sha256):
            return f"its SHA-256 is {digest} where {self.sha256} is expected"
        return ""


@cache
def registry() -> tuple[Weight, ...]:
    """Returns all entries, in the order of the file."""
    tables: list[dict[str, Any]] = tomllib.loads(TABLE.read_text("utf-8"))["weight"]
    return tuple(Weight(**{**table, "files": tuple(table.get("files", ()))}) for table in tables)


def entry(name: str, known: Iterable[Weight] | None = None) -> Weight | None:
    """Returns the entry of that name, None if there is none."""
    return next((each for each in known or registry() if each.name == name), None)


def size_text(size: int | None) -> str:
    """Returns a size as ``527.8 MiB``."""
    if size is None:
        return "size unknown"
    if size < 2**20:
        return f"{size / 2**10:.1f} KiB"
    return f"{size / 2**20:.1f} MiB" if size < 2**30 else f"{size / 2**30:.2f} GiB"


def how_to_get(weight: Weight, weights_dir: str | Path | None) -> str:
    """Returns one entry's row and the command, for the sentence that it is missing."""
    folder = f" weights_dir={weights_dir}" if weights_dir else " weights_dir=DIR"
    row = [weight.name, size_text(weight.size), weight.licence, weight.address or weight.note]
    text = " | ".join(part for part in row if part)
    if weight.fetchable:
        return f"{text} | get it by: python -m experiments.weights download={weight.name}{folder}"
    return f"{text} | put it below the weights folder by hand"
