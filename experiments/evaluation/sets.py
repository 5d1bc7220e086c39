"""Features of whole sets of images, which FID and KID compare."""

from collections.abc import Sequence

import torch
from torch import Tensor

from osdface.metrics.feature_statistics import FeatureStatistics
from osdface.metrics.features import FeatureMoments, KernelDistance

RESTORED, REFERENCE, FURTHER = "restored", "reference", "fid_reference"
_TOGETHER = (
    64  # features that are added up at once: a product of 2,048 squared costs as much for one
)


class FeatureSets:
    """Sums of the features of some sets; metrics add up over torch.distributed where there is one.

    Args:
        names: Of the sets.
        dimension: Of a feature.
        network: Which network they are of.
        kernel: Which set KID compares the restored images with; None without KID.
    """

    def __init__(
        self, names: Sequence[str], dimension: int, network: str, kernel: str | None
    ) -> None:
        self.moments = {name: FeatureMoments(dimension, network) for name in names}
        self.buffers: dict[str, list[Tensor]] = {name: [] for name in names}
        self.with_kernel = kernel
        self.kernel = KernelDistance()
        for of_reference in (False, True):  # so that no process comes with nothing
            self.kernel.update(torch.zeros(0, dimension), of_reference)

    def add(self, name: str, features: Sequence[Tensor]) -> None:
        """Adds features (D,) of images."""
        self.buffers[name] += features
        if len(self.buffers[name]) >= _TOGETHER:
            self._flush(name)

    def _flush(self, name: str) -> None:
        if not self.buffers[name]:
            return
        features = torch.stack(self.buffers[name])
        self.buffers[name].clear()
        self.moments[name].update(features)
        if self.with_kernel and name in (RESTORED, self.with_kernel):
            self.kernel.update(features, reference=name != RESTORED)

    def compute(self) -> tuple[dict[str, FeatureStatistics], dict[str, float]]:
        """Returns the statistics of each set, and KID if it is wanted; every process must call."""
        for name in self.moments:
            self._flush(name)
        statistics = {name: each.compute() for name, each in self.moments.items()}
        return statistics, {"kid": self.kernel.compute()} if self.with_kernel else {}
