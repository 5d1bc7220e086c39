"""Our tiny stand-in for VGG16, and the heads that train it."""

import itertools
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from osdface.networks.storage import read_architecture, save_network
from osdface.networks.trunk import PerceptualTrunk


class TinyPerceptualNetwork(PerceptualTrunk):
    """Our stand-in for VGG16: four stages of two 3x3 convolutions + ReLU, 0.15 M parameters.

    (B, 3, H, W) in [0, 1] -> features of sizes H, H/2, H/4, H/8. Source: ours; it is trained on
    procedural portraits to predict attributes and degradation severity.
    """

    def __init__(self, channels: tuple[int, ...] = (16, 32, 64, 64), name: str = "tiny_perceptual"):
        super().__init__(channels, name, is_stand_in=True)
        widths = (3, *self.channels)
        self.stages = nn.ModuleList(
            nn.Sequential(
                *([self.pool()] if stage else []),
                nn.Conv2d(before, after, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(after, after, 3, padding=1),
                nn.ReLU(),
            )
            for stage, (before, after) in enumerate(itertools.pairwise(widths))
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> list[Tensor]:
        features = [self.normalise(x)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features[1:]

    def save(self, path: str | Path, **notes: str) -> None:
        """Writes the weights as safetensors; ``notes`` (how it was trained) go to the metadata."""
        architecture = {"type": type(self).__name__, "channels": self.channels, "name": self.name}
        save_network(self, path, architecture, notes)

    @classmethod
    def load(cls, path: str | Path) -> "TinyPerceptualNetwork":
        """Reads a file of :meth:`save`; UserError if it is something else."""
        options = read_architecture(path, cls.__name__)
        network = cls(tuple(options["channels"]), options["name"])
        network.load_state_dict(load_file(path))
        return network


class TinyPerceptualHeads(nn.Module):
    """Training heads of :class:`TinyPerceptualNetwork`: attributes and degradation severity.

    Every stage is averaged over the image, so that every stage receives a training signal.

    Args:
        channels: The trunk's channels.
        attributes: Attribute name -> number of classes.
        severities: Number of regressed degradation severities.
    """

    def __init__(
        self, channels: tuple[int, ...], attributes: Mapping[str, int], severities: int = 3
    ):
        super().__init__()
        self.attributes = nn.ModuleDict(
            {name: nn.Linear(sum(channels), classes) for name, classes in attributes.items()}
        )
        self.severity = nn.Linear(sum(channels), severities)

    def forward(self, features: list[Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """Returns ({name: logits (B, classes)}, severities (B, S))."""
        pooled = torch.cat([feature.mean((2, 3)) for feature in features], 1)
        return {name: head(pooled) for name, head in self.attributes.items()}, self.severity(pooled)
