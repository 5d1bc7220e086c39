"""Random networks on which the losses are compared with naive ones."""

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import vgg

from osdface.networks.identity import IdentityEncoder
from osdface.networks.trunk import PerceptualTrunk
from osdface.networks.vgg16 import VGG16Trunk


class SmallTrunk(PerceptualTrunk):
    """Two stages of smooth functions: gradcheck must not meet the kink of a ReLU."""

    def __init__(self) -> None:
        super().__init__((4, 5), "small", is_stand_in=True)
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, stride=2)
        self.seen: list[int] = []
        self.graphs: list[bool] = []

    def forward(self, x: Tensor) -> list[Tensor]:
        self.seen.append(len(x))
        self.graphs.append(torch.is_grad_enabled())
        one = nn.functional.softplus(self.first(self.normalise(x)))
        return [one, nn.functional.softplus(self.second(one))]


class SmallEmbedding(nn.Module):
    """A linear embedding of the mean colour in a corner and in the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        means = [x.mean((2, 3)), x[..., :2, :2].mean((2, 3))]
        return self.linear(torch.cat(means, 1))


@pytest.fixture
def trunk() -> SmallTrunk:
    torch.manual_seed(0)
    return SmallTrunk().double().requires_grad_(False)


@pytest.fixture
def encoder() -> IdentityEncoder:
    torch.manual_seed(1)
    return IdentityEncoder(SmallEmbedding().double(), "small", is_stand_in=True)


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    """Two batches of images in [-1, 1], float64."""
    generator = torch.Generator().manual_seed(2)
    x, y = torch.rand(2, 3, 3, 9, 8, generator=generator, dtype=torch.float64) * 2 - 1
    return x, y


@pytest.fixture(scope="session")
def vgg_features() -> nn.Sequential:
    """Torchvision's VGG16 features with random weights."""
    torch.manual_seed(3)
    return vgg.make_layers(vgg.cfgs["D"], batch_norm=False).eval()


@pytest.fixture
def vgg_trunk(vgg_features):
    """Returns a function pooling -> our trunk with the weights of ``vgg_features``."""

    def build(pooling: str) -> VGG16Trunk:
        trunk = VGG16Trunk(pooling)
        trunk.features.load_state_dict(vgg_features.state_dict())
        return trunk.requires_grad_(False).eval()

    return build
