"""What a source of samples hands out: encoded images with their labels, by number."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Record:
    """One sample as it is stored.

    Attributes:
        key: Unique name of the sample; safe as a file name.
        image: Encoded image (PNG, JPEG, WebP or BMP bytes).
        identity: Number of the person, -1 if unknown.
        labels: Whatever else is known: ``attributes`` (name -> int), ``landmarks`` ((K, 2) pixels).
        retouched: The other version of the image, where the data set is to choose between both.
    """

    key: str
    image: bytes
    identity: int = -1
    labels: dict[str, Any] = field(default_factory=dict)
    retouched: bytes | None = None


class BrokenSample(Exception):
    """One sample cannot be read or decoded; the data set replaces it."""


class Source(Protocol):
    """Random access to records; an implementation can be pickled and be used after a fork."""

    @property
    def keys(self) -> Sequence[str]:
        """The keys of all samples, unique, in an order that depends on the data alone."""
        ...

    def read(self, index: int) -> Record:
        """Reads one record; raises :class:`BrokenSample` if that cannot be done."""
        ...

    def fingerprint(self) -> str:
        """Returns a text that changes when the data change."""
        ...


class Subset:
    """Some samples of a source.

    Args:
        source: Where they come from.
        indices: Their numbers there, in the wanted order.
    """

    def __init__(self, source: Source, indices: Sequence[int]) -> None:
        self.source = source
        self.indices = list(indices)
        self.keys = [source.keys[index] for index in self.indices]

    def read(self, index: int) -> Record:
        """Reads one record of the subset."""
        return self.source.read(self.indices[index])

    def fingerprint(self) -> str:
        """Returns a text that changes when the source or the choice changes."""
        return f"{self.source.fingerprint()}:{','.join(self.keys)}"
