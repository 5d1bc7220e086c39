"""VGG16 as a feature trunk, with torchvision's weights or those of HED."""

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from osdface.errors import UserError
from osdface.files import sha256_file
from osdface.networks.trunk import PerceptualTrunk
from osdface.pickles import load_pickle

VGG16_CHANNELS = (64, 128, 256, 512, 512)
_LAYERS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions a stage


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
        for stage, (width, convolutions) in enumerate(_LAYERS):
            layers += [self.pool()] if stage else []
            for _ in range(convolutions):
                layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU(inplace=True)]
                before = width
            self.taps.append(len(layers) - 1)
        self.features = nn.Sequential(*layers)

    def stage(self, number: int, x: Tensor) -> Tensor:
        """Returns the features of a stage, 0 to 4, given those of the one before.

        Stage 0 takes the image and knows no pooling: trunks of both kinds agree in it.
        """
        if number == 0:
            x = self.normalise(x.flip(1) if self.bgr else x)
        begin = self.taps[number - 1] + 1 if number else 0
        for layer in self.features[begin : self.taps[number] + 1]:
            x = layer(x)
        return x

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for number in range(len(self.taps)):
            x = self.stage(number, x)
            features.append(x)
        return features

    @classmethod
    def load(cls, path: str | Path, pooling: str = "l2") -> "VGG16Trunk":
        """Reads torchvision's ``vgg16-397923af.pth`` or the fp16 HED features (BGR, Caffe means).

        Any other weights of this shape load too, but are named and marked as a stand-in.
        """
        path = Path(path)
        state = load_file(path) if path.suffix == ".safetensors" else load_pickle(path)
        trunk = cls(pooling)
        wanted = trunk.state_dict()
        state = state if isinstance(state, dict) else {}
        found = {key: value.float() for key, value in state.items() if key in wanted}
        same = found.keys() == wanted.keys()
        if not same or any(found[key].shape != wanted[key].shape for key in wanted):
            raise UserError(
                f"{path} holds no VGG16: 'features.N.weight' are missing or of another size."
            )
        trunk.load_state_dict(found)
        if "hed" in path.stem.split("_"):
            trunk.name, trunk.is_stand_in, trunk.bgr = "vgg16_hed", True, True
            caffe_mean = (104.00699, 116.66877, 122.67892)  # BGR, images 0..255
            trunk.set_input(tuple(m / 255 for m in caffe_mean), (1 / 255,) * 3)
        elif not sha256_file(path).startswith("397923af"):  # the published file carries its hash
            trunk.name, trunk.is_stand_in = f"vgg16 weights of {path.name}", True
        return trunk
