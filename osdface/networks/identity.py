"""Face recognition networks behind one interface: aligned faces to unit-norm embeddings."""

import difflib
import importlib
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from osdface.errors import UserError
from osdface.networks.alignment import ArcFaceCrop, resize
from osdface.networks.arcface_resnet18 import ArcFaceResNet18, GrayResize
from osdface.networks.mobilefacenet import ImageNetCrop, MobileFaceNet
from osdface.networks.onnx_network import OnnxNetwork
from osdface.networks.tiny_identity import TinyIdentityNetwork
from osdface.paths import find_weight
from osdface.pickles import load_pickle

_FILES = {
    "tiny_a": "shipped:identity_a.safetensors",
    "tiny_b": "shipped:identity_b.safetensors",
    "arcface_ir_se50": "recognition_arcface_ir_se50.pth",
    "arcface_resnet18": "arcface_resnet18.pth",
    "mobilefacenet": "mobilefacenet_foamliu.pt",
    "w600k_mbf": "w600k_mbf.onnx",
}


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


def _fill(network: nn.Module, path: Path) -> None:
    try:
        network.load_state_dict(load_pickle(path))
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} holds no weights of this network: {reason}") from error


def find_identity(spec: str, weights_dir: str | Path | None = None) -> Path:
    """Returns the weight file of a network; raises UserError like :func:`load_identity`."""
    if spec not in _FILES and Path(spec).suffix != ".safetensors":
        near = difflib.get_close_matches(spec, _FILES, n=5, cutoff=0.0)
        raise UserError(f"Unknown identity network {spec!r}: one of {', '.join(near)}, or a file.")
    return find_weight(_FILES.get(spec, spec), weights_dir)


def load_identity(spec: str, weights_dir: str | Path | None = None) -> IdentityEncoder:
    """Returns a frozen recognition network for FFHQ-aligned faces.

    ``tiny_a`` and ``tiny_b`` are our stand-ins (two, so that the loss and the metric need not share
    one). ``arcface_ir_se50`` is facexlib's ArcFace, fed with the whole crop resized to 112: the
    field crops nothing, although the network was trained on tighter crops. ``arcface_resnet18``,
    with which the field measures Deg., gets the whole crop in gray at 128. ``mobilefacenet`` and
    ``w600k_mbf`` (scoring only) get ArcFace's own crop.

    Args:
        spec: One of the names above, or a file of :meth:`TinyIdentityNetwork.save`.
        weights_dir: Where the file is looked for (see :func:`osdface.paths.find_weight`).

    Raises:
        UserError: The specification or file is unknown, or onnxruntime is missing.
    """
    path = find_identity(spec, weights_dir)
    if spec == "arcface_ir_se50":
        facexlib = importlib.import_module("facexlib.recognition.arcface_arch")
        network = facexlib.Backbone(50, 0.6, "ir_se")
        _fill(network, path)
        return IdentityEncoder(network, spec, prepare=_Resize(112))
    if spec == "arcface_resnet18":
        released = load_pickle(path)
        return IdentityEncoder(ArcFaceResNet18.from_released(released), spec, prepare=GrayResize())
    if spec == "mobilefacenet":
        network = MobileFaceNet()
        _fill(network, path)
        return IdentityEncoder(network, spec, prepare=ImageNetCrop())
    if spec == "w600k_mbf":
        return IdentityEncoder(OnnxNetwork(path), spec, prepare=ArcFaceCrop(), differentiable=False)
    name = spec if spec in _FILES else f"tiny identity of {path.name}"
    return IdentityEncoder(TinyIdentityNetwork.load(path), name, is_stand_in=True)
