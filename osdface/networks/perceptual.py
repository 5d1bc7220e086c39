"""Feature trunks of the perceptual losses: VGG16 and our tiny stand-in for machines without it."""

import difflib
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from osdface.errors import UserError
from osdface.files import atomic_path, sha256_file
from osdface.paths import find_weight

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
VGG16_CHANNELS = (64, 128, 256, 512, 512)
_VGG16_LAYERS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions a stage
_FILES = {
    "tiny": "shipped:perceptual.safetensors",
    "vgg16": "vgg16-397923af.pth",
    "vgg16_hed": "vgg16_hed_features_fp16.safetensors",
}


class L2Pool(nn.Module):
    """Halves a feature map by the root of the Hanning-weighted mean of squares.

    (B, C, H, W) -> (B, C, ceil(H/2), ceil(W/2)). Source: DISTS (Ding et al.); unlike max pooling it
    hardly aliases.
    """

    def forward(self, x: Tensor) -> Tensor:
        window = x.new_tensor((0.25, 0.5, 0.25))
        kernel = torch.outer(window, window).expand(x.shape[1], 1, 3, 3)
        mean = F.conv2d(x.square(), kernel, stride=2, padding=1, groups=x.shape[1])
        return (mean + 1e-12).sqrt()  # the root's slope at 0 is infinite


class PerceptualTrunk(nn.Module):
    """Base of the trunks: an image (B, 3, H, W) in [0, 1] to a list of stage features.

    The image itself is not among the features. Weights and image must have one dtype: call
    ``.double()`` before a float64 check.

    Attributes:
        channels: Number of channels of each stage.
        name: Which network this is, printed beside every number computed with it.
        is_stand_in: True if the numbers are not comparable with published ones.
        pooling: ``l2`` or ``max``.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, channels: tuple[int, ...], name: str, is_stand_in: bool, pooling: str = "l2"
    ):
        super().__init__()
        if pooling not in ("l2", "max"):
            raise UserError(f"Unknown pooling {pooling!r}: choose l2 (DISTS) or max (LPIPS).")
        self.channels = tuple(channels)
        self.name, self.is_stand_in, self.pooling = name, is_stand_in, pooling
        self.set_input(IMAGENET_MEAN, IMAGENET_STD)

    def set_input(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Sets the per-channel normalisation ``(x - mean) / std`` of images in [0, 1]."""
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def normalise(self, x: Tensor) -> Tensor:
        """Maps an image in [0, 1] to what the first convolution expects."""
        return (x - self.mean) / self.std

    def pool(self) -> nn.Module:
        """Returns a new pooling layer of the chosen kind."""
        return L2Pool() if self.pooling == "l2" else nn.MaxPool2d(2)


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


class VGG16Trunk(PerceptualTrunk):
    """VGG16 up to relu5_3 with features at relu1_2, 2_2, 3_3, 4_3 and 5_3.

    (B, 3, H, W) in [0, 1], H and W at least 16. Parameters are called as torchvision's
    (``features.N.weight``). Source: Simonyan and Zisserman, configuration D; ``pooling="l2"`` is
    the trunk of DISTS, ``"max"`` that of LPIPS.
    """

    def __init__(self, pooling: str = "l2", name: str = "vgg16", is_stand_in: bool = False):
        super().__init__(VGG16_CHANNELS, name, is_stand_in, pooling)
        layers: list[nn.Module] = []
        self.taps: list[int] = []
        before, self.bgr = 3, False
        for stage, (width, convolutions) in enumerate(_VGG16_LAYERS):
            layers += [self.pool()] if stage else []
            for _ in range(convolutions):
                layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
                before = width
            self.taps.append(len(layers) - 1)
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.normalise(x.flip(1) if self.bgr else x)
        features = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taps:
                features.append(x)
        return features

    @classmethod
    def load(cls, path: str | Path, pooling: str = "l2") -> "VGG16Trunk":
        """Reads torchvision's ``vgg16-397923af.pth`` or the fp16 HED features (BGR, Caffe means).

        Any other weights of this shape load too, but are named and marked as a stand-in.
        """
        path = Path(path)
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        trunk = cls(pooling)
        wanted = trunk.state_dict()
        found = {key: value.float() for key, value in state.items() if key in wanted}
        if found.keys() != wanted.keys():
            raise UserError(f"{path} holds no VGG16 features: 'features.N.weight' are missing.")
        trunk.load_state_dict(found)
        if "hed" in path.stem.split("_"):
            trunk.name, trunk.is_stand_in, trunk.bgr = "vgg16_hed", True, True
            caffe_mean = (104.00699, 116.66877, 122.67892)  # BGR, images 0..255
            trunk.set_input(tuple(m / 255 for m in caffe_mean), (1 / 255,) * 3)
        elif not sha256_file(path).startswith("397923af"):  # the published file carries its hash
            trunk.name, trunk.is_stand_in = f"vgg16 weights of {path.name}", True
        return trunk


def load_trunk(
    spec: str, weights_dir: str | Path | None = None, pooling: str = "l2"
) -> PerceptualTrunk:
    """Returns a frozen trunk in eval mode.

    Args:
        spec: ``tiny``, ``vgg16``, ``vgg16_hed``, or a weight file.
        weights_dir: Where the file is looked for (see :func:`osdface.paths.find_weight`).
        pooling: ``l2`` for DISTS, ``max`` for LPIPS; the tiny trunk has ``l2`` only.

    Raises:
        UserError: The specification or file is unknown, or holds something else.
    """
    if spec not in _FILES and Path(spec).suffix not in (".pth", ".pt", ".safetensors"):
        near = difflib.get_close_matches(spec, _FILES, cutoff=0.0)
        raise UserError(f"Unknown perceptual trunk {spec!r}: one of {', '.join(near)}, or a file.")
    path = find_weight(_FILES.get(spec, spec), weights_dir)
    trunk: PerceptualTrunk
    if path.suffix == ".safetensors" and read_metadata(path).get("architecture"):
        trunk = TinyPerceptualNetwork.load(path)
    else:
        trunk = VGG16Trunk.load(path, pooling)
    return trunk.requires_grad_(False).eval()


def save_network(
    network: nn.Module,
    path: str | Path,
    architecture: Mapping[str, Any],
    notes: Mapping[str, str] | None = None,
) -> None:
    """Writes the weights atomically as safetensors, the architecture as JSON in the metadata."""
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    metadata = {**(notes or {}), "architecture": json.dumps(dict(architecture))}
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata)


def read_metadata(path: str | Path) -> dict[str, str]:
    """Returns the metadata of a safetensors file; UserError if it is not one."""
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise UserError(f"{path} is not a safetensors file ({error}).") from None


def read_architecture(path: str | Path, kind: str) -> dict[str, Any]:
    """Returns the architecture that :func:`save_network` wrote; UserError if it is no ``kind``."""
    architecture = json.loads(read_metadata(path).get("architecture", "{}"))
    if architecture.get("type") != kind:
        raise UserError(f"{path} holds {architecture.get('type', 'no architecture')}, not {kind}.")
    return dict(architecture)
