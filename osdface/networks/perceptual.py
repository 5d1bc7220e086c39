"""The feature trunks of the perceptual losses by name: VGG16, AlexNet, our stand-in."""

import difflib
from pathlib import Path

from osdface.errors import UserError
from osdface.networks.alexnet import AlexNetTrunk
from osdface.networks.storage import read_metadata
from osdface.networks.tiny_perceptual import TinyPerceptualNetwork
from osdface.networks.trunk import PerceptualTrunk
from osdface.networks.vgg16 import VGG16Trunk
from osdface.paths import find_weight

_FILES = {
    "tiny": "shipped:perceptual.safetensors",
    "alex": "alexnet-owt-7be5be79.pth",
    "vgg16": "vgg16-397923af.pth",
    "vgg16_hed": "vgg16_hed_features_fp16.safetensors",
}


def find_trunk(spec: str, weights_dir: str | Path | None = None) -> Path:
    """Returns the weight file of a trunk; raises UserError like :func:`load_trunk`."""
    if spec not in _FILES and Path(spec).suffix not in (".pth", ".pt", ".safetensors"):
        near = difflib.get_close_matches(spec, _FILES, cutoff=0.0)
        raise UserError(f"Unknown perceptual trunk {spec!r}: one of {', '.join(near)}, or a file.")
    return find_weight(_FILES.get(spec, spec), weights_dir)


def load_trunk(
    spec: str, weights_dir: str | Path | None = None, pooling: str = "l2"
) -> PerceptualTrunk:
    """Returns a frozen trunk in eval mode.

    Args:
        spec: ``tiny``, ``vgg16``, ``vgg16_hed``, ``alex`` (LPIPS alone), or a weight file.
        weights_dir: Where the file is looked for (see :func:`osdface.paths.find_weight`).
        pooling: ``l2`` for DISTS, ``max`` for LPIPS; the tiny trunk has ``l2`` only.

    Raises:
        UserError: The specification or file is unknown, or holds something else.
    """
    path = find_trunk(spec, weights_dir)
    trunk: PerceptualTrunk
    if path.suffix == ".safetensors" and read_metadata(path).get("architecture"):
        trunk = TinyPerceptualNetwork.load(path)
    elif spec == "alex":
        trunk = AlexNetTrunk.load(path)
    else:
        trunk = VGG16Trunk.load(path, pooling)
    return trunk.requires_grad_(False).eval()
