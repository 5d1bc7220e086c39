"""Face recognition networks behind one interface: aligned faces to unit-norm embeddings."""

import difflib
import importlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from osdface.errors import UserError
from osdface.networks.perceptual import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    read_architecture,
    save_network,
)
from osdface.paths import find_weight

# Eyes, nose, mouth corners in pixels of the 512 x 512 FFHQ crop and the 112 x 112 ArcFace crop.
FFHQ_TEMPLATE = (
    (192.98138, 239.94708),
    (318.90277, 240.1936),
    (256.63416, 314.01935),
    (201.26117, 371.41043),
    (313.08905, 371.15118),
)
ARCFACE_TEMPLATE = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
_FILES = {
    "tiny_a": "shipped:identity_a.safetensors",
    "tiny_b": "shipped:identity_b.safetensors",
    "arcface_ir_se50": "recognition_arcface_ir_se50.pth",
    "mobilefacenet": "mobilefacenet_foamliu.pt",
    "w600k_mbf": "w600k_mbf.onnx",
}


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


class _Separable(nn.Module):
    """Names of the members below are those of the released file."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.pointwise = nn.Conv2d(width, width, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn2(self.pointwise(F.relu(self.bn1(self.depthwise(x))))))


def _relu6(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU6())


class _InvertedResidual(nn.Module):
    def __init__(self, before: int, after: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = before * expansion
        self.shortcut = stride == 1 and before == after
        self.conv = nn.Sequential(
            _relu6(before, hidden, 1),
            _relu6(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, after, 1, bias=False),
            nn.BatchNorm2d(after),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileFaceNet(nn.Module):
    """MobileFaceNet of 1.0 M parameters: (B, 3, 112, 112), ImageNet-normalised RGB -> (B, 128).

    Source: Chen et al., table 1, with the choices of foamliu/MobileFaceNet (Apache-2.0), whose
    weights it loads.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _relu6(3, 64, 3, 2)
        self.dw_conv = _Separable(64)
        blocks, before = [], 64
        for expansion, width, repeats, stride in (
            (2, 64, 5, 2),
            (4, 128, 1, 2),
            (2, 128, 6, 1),
            (4, 128, 1, 2),
            (2, 128, 2, 1),
        ):
            for repeat in range(repeats):
                blocks.append(_InvertedResidual(before, width, 1 if repeat else stride, expansion))
                before = width
        self.features = nn.Sequential(*blocks)
        self.conv2 = _relu6(128, 512, 1)
        self.gdconv = nn.Sequential()
        self.gdconv.add_module("depthwise", nn.Conv2d(512, 512, 7, groups=512, bias=False))
        self.gdconv.add_module("bn", nn.BatchNorm2d(512))
        self.conv3 = nn.Conv2d(512, 128, 1)
        self.bn = nn.BatchNorm2d(128)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.features(self.dw_conv(self.conv1(x))))
        return self.bn(self.conv3(self.gdconv(x))).flatten(1)


def resize(x: Tensor, size: int) -> Tensor:
    """Resizes (B, C, H, W) to (B, C, size, size), bilinear with antialiasing (as PIL does)."""
    if x.shape[-2:] == (size, size):
        return x
    return F.interpolate(x, (size, size), mode="bilinear", antialias=True, align_corners=False)


def fit_similarity(source: Any, target: Any) -> np.ndarray:
    """Returns the (2, 3) similarity that maps points (N, 2) onto others with least squares.

    Rotation, uniform scale, shift, no reflection: a point is the complex number x + iy, and the
    map is z -> a z + b.
    """
    points, images = (np.asarray(p, float) @ (1, 1j) for p in (source, target))
    centred = points - points.mean()
    a = np.vdot(centred, images - images.mean()) / np.vdot(centred, centred)
    b = images.mean() - a * points.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def _arcface_theta() -> Tensor:
    """Returns the affine_grid matrix that takes ArcFace's crop out of an FFHQ crop."""
    matrix = np.vstack([fit_similarity(FFHQ_TEMPLATE, ARCFACE_TEMPLATE), (0, 0, 1)])

    # Normalised coordinates (align_corners=False) count from the image's border, pixels from the
    # first pixel's centre: x = (2 pixel + 1) / size - 1. They do not depend on the resolution.
    def pixels(size: int) -> np.ndarray:
        return np.array([[size / 2, 0, size / 2 - 0.5], [0, size / 2, size / 2 - 0.5], [0, 0, 1]])

    theta = np.linalg.inv(pixels(512)) @ np.linalg.inv(matrix) @ pixels(112)
    return torch.tensor(theta[:2])


class ArcFaceCrop(nn.Module):
    """Warps an FFHQ crop (B, 3, R, R) of any R to ArcFace's 112 x 112 template, differentiably."""

    theta: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("theta", _arcface_theta(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        # At 150 the crop's scale is 1. Sampling a larger image directly would alias.
        x = resize(x, 150) if x.shape[-1] > 150 else x
        theta = self.theta.to(x).expand(len(x), 2, 3)
        grid = F.affine_grid(theta, [len(x), x.shape[1], 112, 112], align_corners=False)
        return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


class IdentityEncoder(nn.Module):
    """A frozen recognition network: FFHQ-aligned faces to embeddings.

    (B, 3, H, W) in [-1, 1], any resolution -> (B, D) of unit norm.

    Attributes:
        name: Which network this is, printed beside every number computed with it.
        is_stand_in: True for our tiny networks, which know procedural portraits only.
        differentiable: False for networks that can only score.
    """

    def __init__(
        self,
        network: nn.Module,
        name: str,
        is_stand_in: bool = False,
        prepare: Callable[[Tensor], Tensor] | None = None,
        differentiable: bool = True,
    ) -> None:
        super().__init__()
        self.network, self.prepare = network, prepare or nn.Identity()
        self.name, self.is_stand_in, self.differentiable = name, is_stand_in, differentiable
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "IdentityEncoder":
        """Stays in eval mode: BatchNorm must not learn from restorations."""
        super().train(False)
        return self

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.network(self.prepare(x)))


class _Resize(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return resize(x, self.size)


class _ImageNetCrop(ArcFaceCrop):
    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return ((super().forward(x) + 1) / 2 - self.mean) / self.std


class _OnnxNetwork(nn.Module):
    """Scores with onnxruntime on the CPU, without gradient.

    RGB (B, 3, 112, 112) in [-1, 1] -> (B, D).
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.session = self._open()

    def _open(self) -> Any:
        try:
            runtime = importlib.import_module("onnxruntime")
        except ImportError:
            raise UserError(
                "The identity network w600k_mbf needs onnxruntime: pip install onnxruntime."
            ) from None
        return runtime.InferenceSession(str(self.path), providers=["CPUExecutionProvider"])

    def __getstate__(self) -> dict[str, Any]:
        # A session cannot be copied, and metrics are.
        return {key: value for key, value in self.__dict__.items() if key != "session"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.session = self._open()

    def forward(self, x: Tensor) -> Tensor:
        name = self.session.get_inputs()[0].name
        images = x.detach().float().cpu().numpy()
        return torch.from_numpy(self.session.run(None, {name: images})[0]).to(x)


def load_identity(spec: str, weights_dir: str | Path | None = None) -> IdentityEncoder:
    """Returns a frozen recognition network for FFHQ-aligned faces.

    ``tiny_a`` and ``tiny_b`` are our stand-ins (two, so that the loss and the metric need not share
    one). ``arcface_ir_se50`` is facexlib's ArcFace, fed with the whole crop resized to 112: the
    field crops nothing, although the network was trained on tighter crops. ``mobilefacenet`` and
    ``w600k_mbf`` (scoring only) get ArcFace's own crop.

    Args:
        spec: One of the names above, or a file of :meth:`TinyIdentityNetwork.save`.
        weights_dir: Where the file is looked for (see :func:`osdface.paths.find_weight`).

    Raises:
        UserError: The specification or file is unknown, or onnxruntime is missing.
    """
    if spec not in _FILES and Path(spec).suffix != ".safetensors":
        near = difflib.get_close_matches(spec, _FILES, n=5, cutoff=0.0)
        raise UserError(f"Unknown identity network {spec!r}: one of {', '.join(near)}, or a file.")
    path = find_weight(_FILES.get(spec, spec), weights_dir)
    if spec == "arcface_ir_se50":
        facexlib = importlib.import_module("facexlib.recognition.arcface_arch")
        network = facexlib.Backbone(50, 0.6, "ir_se")
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        return IdentityEncoder(network, spec, prepare=_Resize(112))
    if spec == "mobilefacenet":
        network = MobileFaceNet()
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        return IdentityEncoder(network, spec, prepare=_ImageNetCrop())
    if spec == "w600k_mbf":
        return IdentityEncoder(
            _OnnxNetwork(path), spec, prepare=ArcFaceCrop(), differentiable=False
        )
    name = spec if spec in _FILES else f"tiny identity of {path.name}"
    return IdentityEncoder(TinyIdentityNetwork.load(path), name, is_stand_in=True)
