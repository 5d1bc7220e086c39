"""The base of the metrics: means over images that do not depend on batches or ranks."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from osdface.errors import UserError


class PerImageMean(Metric):
    """Sums figures of single images in float64; ``compute()`` returns their means by name.

    ``update(restored, target)`` takes images (B, 3, H, W) in [-1, 1]; sums and the number of images
    are added up over ranks. Subclasses give :meth:`per_image` and :meth:`specification`.

    Args:
        names: Names of the figures, in the order of the result.

    Attributes:
        needs_target: Whether an original is needed.
    """

    full_state_update = False
    needs_target = True
    total: Tensor
    images: Tensor

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        zeros = torch.zeros(len(self.names), dtype=torch.float64)
        self.add_state("total", zeros, dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def per_image(self, restored: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Returns every figure of each image, name -> (B,)."""
        raise NotImplementedError

    def specification(self) -> dict[str, str]:
        """Returns for every figure how it is computed and on which network it depends."""
        raise NotImplementedError

    def update(self, restored: Tensor, target: Tensor) -> None:
        """Adds a batch; UserError if the images differ in shape."""
        if restored.shape != target.shape:
            raise UserError(
                f"Restored images {tuple(restored.shape)} and targets {tuple(target.shape)} differ "
                "in shape: metrics compare images of one size."
            )
        self.add(self.per_image(restored.float(), target.float()))

    def add(self, figures: dict[str, Tensor]) -> None:
        """Adds figures that :meth:`per_image` gave, now or in an earlier run; name -> (B,)."""
        sums = [figures[name].double().sum() for name in self.names]
        self.total += torch.stack(sums).to(self.total.device)
        self.images += len(figures[self.names[0]])

    def compute(self) -> dict[str, float]:
        """Returns the mean over all images, name -> number; UserError without any image."""
        if int(self.images) == 0:
            raise UserError("The metrics saw no image: the data set to be evaluated is empty.")
        return dict(zip(self.names, (self.total / self.images).tolist(), strict=True))


class FeatureComparison(PerImageMean):
    """Base of the figures that compare small features of both images, which may be known already.

    A reference that ten methods are measured against goes through the network once:
    :meth:`compare` takes features that :meth:`features` gave at any time.
    """

    def features(self, images: Tensor) -> Tensor:
        """Returns what is compared, (B, ...), of images (B, 3, H, W) in [-1, 1]."""
        raise NotImplementedError

    def compare(self, restored: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Returns every figure of each image from the features of both, name -> (B,)."""
        raise NotImplementedError

    def per_image(self, restored: Tensor, target: Tensor) -> dict[str, Tensor]:
        return self.compare(self.features(restored), self.features(target))
