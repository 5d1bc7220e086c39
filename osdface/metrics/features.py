"""FID and KID of sets of features, as metrics that add up over batches and ranks."""

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from osdface.errors import UserError
from osdface.metrics.feature_statistics import FeatureStatistics

_KID_SUBSETS, _KID_SIZE = 100, 1000


class FeatureMoments(Metric):
    """Streaming float64 sums of features (B, D); ``compute()`` returns :class:`FeatureStatistics`.

    The sums are added up over ranks; the first moment is subtracted at the end, which float64
    bears for features of a network.

    Args:
        dimension: D.
        network: What the statistics say of where the features are from.
    """

    full_state_update = False
    total: Tensor
    products: Tensor
    images: Tensor

    def __init__(self, dimension: int, network: str = "") -> None:
        super().__init__()
        self.network = network
        zeros = torch.zeros(dimension, dtype=torch.float64)
        self.add_state("total", zeros, dist_reduce_fx="sum")
        self.add_state("products", torch.outer(zeros, zeros), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, features: Tensor) -> None:
        """Adds a batch."""
        features = features.to(self.total)
        self.total += features.sum(0)
        self.products += features.T @ features
        self.images += len(features)

    def compute(self) -> FeatureStatistics:
        """Returns the moments; UserError of fewer than two images."""
        count = int(self.images)
        if count < 2:
            raise UserError(f"FID needs at least two images of each set, and one has {count}.")
        mean = self.total / count
        covariance = (self.products - count * torch.outer(mean, mean)) / (count - 1)
        return FeatureStatistics(mean.cpu(), covariance.cpu(), count, self.network)


class KernelDistance(Metric):
    """KID: the unbiased squared MMD of two sets of features, kernel (x.y / D + 1)^3.

    The mean over 100 seeded subsets of 1,000, or of the smaller set's number. Subsets are drawn
    from the features in a sorted order, so that neither batches nor ranks change the figure.
    Source: Binkowski et al., 2018.
    """

    full_state_update = False
    features: list[Tensor]
    references: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("features", [], dist_reduce_fx="cat")
        self.add_state("references", [], dist_reduce_fx="cat")

    def update(self, features: Tensor, reference: bool = False) -> None:
        """Adds features (B, D) of restored or of reference images."""
        (self.references if reference else self.features).append(features.double())

    def compute(self) -> float:
        """Returns the distance; UserError of fewer than two images."""
        # A list, or a tensor where ranks were added up.
        if not (len(self.features) and len(self.references)):
            raise UserError("KID needs images of both sets.")
        x, y = (_ordered(dim_zero_cat(each)) for each in (self.features, self.references))
        size = min(_KID_SIZE, len(x), len(y))
        if size < 2:
            raise UserError("KID needs at least two images of each set.")
        if size == len(x) == len(y):  # every subset would be the same
            return float(squared_mmd(x, y))
        drawn = torch.Generator().manual_seed(0)
        found = []
        for _ in range(_KID_SUBSETS):
            chosen = [each[torch.randperm(len(each), generator=drawn)[:size]] for each in (x, y)]
            found.append(squared_mmd(*chosen))
        return float(torch.stack(found).mean())


def _ordered(features: Tensor) -> Tensor:
    features = features.cpu()
    return features[torch.from_numpy(np.lexsort(features[:, :8].T.numpy()))]


def squared_mmd(x: Tensor, y: Tensor) -> Tensor:
    """Returns the unbiased squared MMD of features (N, D) and (M, D), polynomial kernel."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    own = [
        (k.sum() - k.diagonal().sum()) / (len(each) * (len(each) - 1))
        for each, k in ((x, kernel(x, x)), (y, kernel(y, y)))
    ]
    return own[0] + own[1] - 2 * kernel(x, y).mean()
