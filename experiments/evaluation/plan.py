"""What is to be measured, and what came of it."""

from dataclasses import dataclass, field
from pathlib import Path

from experiments.evaluation.images import ImageFile
from experiments.evaluation.pairing import Item
from osdface.metrics.feature_statistics import FeatureStatistics
from osdface.metrics.suites import SuiteSettings


@dataclass(frozen=True)
class Plan:
    """What is to be measured.

    Attributes:
        items: The images.
        further: Images that only FID or KID compares with.
        columns: Which figures.
        settings: By which networks.
        kernel: With which set KID compares, :data:`~experiments.evaluation.sets.REFERENCE` or
            ``FURTHER``; None without KID.
        cache: Folder of what is known already.
        device: Of the networks.
        batch: Images at once.
    """

    items: tuple[Item, ...]
    further: tuple[ImageFile, ...]
    columns: tuple[str, ...]
    settings: SuiteSettings
    kernel: str | None
    cache: Path
    device: str
    batch: int = 4


@dataclass
class Measured:
    """What came of it.

    Attributes:
        values: Column -> mean over all images; of KID its figure.
        rows: Key -> column -> figure, of this process's images.
        statistics: Of the features of each set of images.
        faults: Kind -> what could not be decoded, or not compared.
    """

    values: dict[str, float] = field(default_factory=dict)
    rows: dict[str, dict[str, float]] = field(default_factory=dict)
    statistics: dict[str, FeatureStatistics] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)

    def note(self, kind: str, told: str) -> None:
        """Adds a fault."""
        self.faults.setdefault(kind, []).append(told)
