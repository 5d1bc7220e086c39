"""Our tiny stand-in for ArcFace, and the classifier with a margin that trains it."""

import math
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from osdface.networks.alignment import resize
from osdface.networks.storage import read_architecture, save_network


def _convolution(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.PReLU(after)
    )


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = _convolution(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.convolution(x)


class TinyIdentityNetwork(nn.Module):
    """Our stand-in for ArcFace: a small convolutional network with 0.3 M parameters.

    (B, 3, H, W) in [-1, 1], resized to 64 x 64 -> (B, 128) of unit norm. Its BatchNorm learns
    statistics in training only. Source: ours; trained with :class:`ArcMarginHead`.
    """

    size = 64

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128), embedding_size: int = 128):
        super().__init__()
        self.widths, self.embedding_size = tuple(widths), embedding_size
        stages, before = [], 3
        for width in self.widths:
            stages += [_convolution(before, width, 2), _Residual(width)]
            before = width
        self.stages = nn.Sequential(*stages)
        # As in MobileFaceNet a learned weight per position, because a face has fixed places.
        side = self.size >> len(self.widths)
        self.places = nn.Conv2d(before, before, side, groups=before, bias=False)
        self.project = nn.Linear(before, embedding_size, bias=False)
        self.norm = nn.BatchNorm1d(embedding_size)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(resize(x, self.size))
        return F.normalize(self.norm(self.project(self.places(x).flatten(1))))

    def save(self, path: str | Path, **notes: str) -> None:
        """Writes the weights as safetensors; ``notes`` (how it was trained) go to the metadata."""
        architecture = {
            "type": type(self).__name__,
            "widths": self.widths,
            "embedding_size": self.embedding_size,
        }
        save_network(self, path, architecture, notes)

    @classmethod
    def load(cls, path: str | Path) -> "TinyIdentityNetwork":
        """Reads a file of :meth:`save`; UserError if it is something else."""
        options = read_architecture(path, cls.__name__)
        network = cls(tuple(options["widths"]), options["embedding_size"])
        network.load_state_dict(load_file(path))
        return network


class ArcMarginHead(nn.Module):
    """Classifier with an additive angular margin, for training an identity network.

    Logits are ``scale * cos(theta)``, for the true class ``scale * cos(theta + margin)``; where
    theta + margin > pi the cosine would rise again and ``cos(theta) - margin * sin(margin)`` is
    used. Source: ArcFace (Deng et al.), equation 3 and its released code.
    """

    def __init__(
        self,
        num_classes: int,
        margin: float = 0.3,
        scale: float = 16.0,
        embedding_size: int = 128,
    ) -> None:
        super().__init__()
        self.margin, self.scale = margin, scale
        self.weight = nn.Parameter(torch.randn(num_classes, embedding_size))

    def forward(self, embeddings: Tensor, labels: Tensor | None = None) -> Tensor:
        """Maps (B, D) unit-norm embeddings and (B,) labels to logits (B, num_classes)."""
        cosine = F.linear(embeddings, F.normalize(self.weight))
        if labels is None:
            return self.scale * cosine
        true = cosine.gather(1, labels[:, None])
        sine = (1 - true.square()).clamp(min=1e-7).sqrt()  # the root's slope at 0 is infinite
        shifted = true * math.cos(self.margin) - sine * math.sin(self.margin)
        linear = true - self.margin * math.sin(self.margin)
        shifted = torch.where(true > -math.cos(self.margin), shifted, linear)
        return self.scale * cosine.scatter(1, labels[:, None], shifted)
