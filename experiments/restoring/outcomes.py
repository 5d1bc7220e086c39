"""What became of a picture; light, for whoever only counts."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Outcome:
    """What became of a picture.

    Attributes:
        source: Its file.
        faces: Restored ones.
        error: Why it failed, one sentence.
        notes: What its owner should be told.
    """

    source: Path
    faces: int = 0
    error: str | None = None
    notes: list[str] = field(default_factory=list)
