"""What a source of samples hands out: encoded images with their labels, by number."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from osdface.errors import UserError


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


class Joined:
    """Several sources one after the other, such as shards and a folder.

    Raises:
        UserError: Two sources hold the same key; a degradation is seeded by its sample's key.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = list(sources)
        self.keys: list[str] = []
        self._places: list[tuple[int, int]] = []
        for number, source in enumerate(self.sources):
            self.keys += source.keys
            self._places += [(number, index) for index in range(len(source.keys))]
        counts = Counter(self.keys)
        if repeated := next((key for key in self.keys if counts[key] > 1), None):
            raise UserError(
                f"Two data sources both hold a sample {repeated!r}: rename one of them."
            )

    def read(self, index: int) -> Record:
        """Reads one record."""
        number, inner = self._places[index]
        return self.sources[number].read(inner)

    def fingerprint(self) -> str:
        """Returns a text that changes when one of the sources changes."""
        return ":".join(source.fingerprint() for source in self.sources)
