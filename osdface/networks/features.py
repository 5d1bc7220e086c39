"""Networks whose features FID and KID compare, behind one interface."""

import importlib
from pathlib import Path

import torch
from torch import Tensor, nn

from osdface.errors import UserError
from osdface.files import sha256_file
from osdface.networks.perceptual import find_trunk, load_trunk
from osdface.networks.trunk import PerceptualTrunk
from osdface.paths import find_weight

INCEPTION = "inception"
INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"


class FeatureNetwork(nn.Module):
    """A frozen network: images (B, 3, H, W) in [-1, 1] -> features (B, D), float32.

    Attributes:
        name: Which network this is.
        weights: SHA-256 of its file.
        dimension: D.
        is_stand_in: True for any other than the Inception network of FID.
        resize: How it resizes, in words.
    """

    def __init__(
        self,
        network: nn.Module,
        name: str,
        weights: str,
        dimension: int,
        resizing: str = "none",
        is_stand_in: bool = True,
    ) -> None:
        super().__init__()
        self.network, self.name, self.weights = network, name, weights
        self.dimension, self.resize, self.is_stand_in = dimension, resizing, is_stand_in
        self.requires_grad_(False).eval()

    @property
    def identity(self) -> str:
        """What statistics note: they may be compared only where it is the same."""
        return f"{self.name}, {self.weights}"

    def train(self, mode: bool = True) -> "FeatureNetwork":
        """Stays in eval mode."""
        super().train(False)
        return self

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return self.network(images).float()


class _Pooled(nn.Module):
    """The mean over places of a perceptual trunk's last stage."""

    def __init__(self, trunk: PerceptualTrunk) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, images: Tensor) -> Tensor:
        return self.trunk((images + 1) / 2)[-1].mean((2, 3))


class _Inception(nn.Module):
    """torch-fidelity's port of TensorFlow's network, which takes bytes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            module = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
        except ImportError:
            raise UserError(
                "The Inception network of FID needs torch-fidelity: pip install 'osdface[eval]'."
            ) from None
        self.extractor = module.FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path)
        )

    def forward(self, images: Tensor) -> Tensor:
        levels = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        return self.extractor(levels)[0]


def find_features(spec: str, weights_dir: str | Path | None = None) -> Path:
    """Returns the weight file of a network; raises UserError like :func:`load_features`."""
    if spec == INCEPTION:
        return find_weight(INCEPTION_FILE, weights_dir)
    return find_trunk(spec, weights_dir)


def load_features(spec: str, weights_dir: str | Path | None = None) -> FeatureNetwork:
    """Returns a frozen feature network.

    Args:
        spec: ``inception``, or a trunk of :func:`osdface.networks.perceptual.load_trunk`, whose
            mean features of the last stage stand in for Inception's.
        weights_dir: Where the file is looked for (see :func:`osdface.paths.find_weight`).

    Raises:
        UserError: The name is unknown, its file or torch-fidelity is missing.
    """
    path = find_features(spec, weights_dir)
    digest = sha256_file(path)
    if spec == INCEPTION:
        name, resizing = "Inception (2015-12-05), 2048 features", "299, TensorFlow's bilinear"
        return FeatureNetwork(_Inception(path), name, digest, 2048, resizing, False)
    trunk = load_trunk(spec, weights_dir)
    name = f"mean features of the last stage of {trunk.name}"
    return FeatureNetwork(_Pooled(trunk), name, digest, trunk.channels[-1])
