"""AlexNet as a feature trunk of LPIPS, with torchvision's weights."""

from pathlib import Path

from torch import Tensor, nn

from osdface.errors import UserError
from osdface.files import sha256_file
from osdface.networks.trunk import PerceptualTrunk
from osdface.pickles import load_pickle

ALEXNET_CHANNELS = (64, 192, 384, 256, 256)
_SHAPES = ((11, 4, 2), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))  # kernel, stride, padding


class AlexNetTrunk(PerceptualTrunk):
    """AlexNet with features after each of its five activations; (B, 3, H, W) in [0, 1], 63 or more.

    Parameters are called as torchvision's. Source: Krizhevsky, *One weird trick*, 2014.
    """

    def __init__(self, name: str = "alexnet", is_stand_in: bool = False) -> None:
        super().__init__(ALEXNET_CHANNELS, name, is_stand_in, "max")
        layers: list[nn.Module] = []
        self.taps: list[int] = []
        before = 3
        for stage, (width, shape) in enumerate(zip(ALEXNET_CHANNELS, _SHAPES, strict=True)):
            layers += [nn.MaxPool2d(3, 2)] if stage in (1, 2) else []
            layers += [nn.Conv2d(before, width, *shape), nn.ReLU()]
            self.taps.append(len(layers) - 1)
            before = width
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.normalise(x)
        features = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taps:
                features.append(x)
        return features

    @classmethod
    def load(cls, path: str | Path) -> "AlexNetTrunk":
        """Reads torchvision's ``alexnet-owt-7be5be79.pth``; others are marked as a stand-in."""
        state = load_pickle(path)
        trunk = cls()
        wanted = trunk.state_dict()
        state = state if isinstance(state, dict) else {}
        found = {key: value.float() for key, value in state.items() if key in wanted}
        same = found.keys() == wanted.keys()
        if not same or any(found[key].shape != wanted[key].shape for key in wanted):
            raise UserError(
                f"{path} holds no AlexNet: 'features.N.weight' are missing or of another size."
            )
        trunk.load_state_dict(found)
        if not sha256_file(path).startswith("7be5be79"):  # the published file carries its hash
            trunk.name, trunk.is_stand_in = f"alexnet weights of {Path(path).name}", True
        return trunk
