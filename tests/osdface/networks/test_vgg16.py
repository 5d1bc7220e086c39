"""VGG16 against torchvision and by hand."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import vgg

from osdface.networks.perceptual import load_trunk
from osdface.networks.vgg16 import VGG16Trunk


@pytest.fixture(scope="module")
def torchvision_features() -> nn.Sequential:
    return vgg.make_layers(vgg.cfgs["D"], batch_norm=False).eval()


def state_of(features: nn.Sequential) -> dict[str, torch.Tensor]:
    return {f"features.{name}": value for name, value in features.state_dict().items()}


def test_vgg16_features_are_those_of_torchvision(tmp_path, torchvision_features):
    torch.save(state_of(torchvision_features), tmp_path / "other.pth")
    trunk = VGG16Trunk.load(tmp_path / "other.pth", pooling="max")
    assert trunk.is_stand_in and "other.pth" in trunk.name  # not the published file
    x = torch.rand(1, 3, 32, 32)
    mean, std = (
        [[[[a]], [[b]], [[c]]]] for a, b, c in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    y, wanted = (x - torch.tensor(mean)) / torch.tensor(std), []
    for index, layer in enumerate(torchvision_features):
        y = layer(y.clone())
        if index in (3, 8, 15, 22, 29):  # relu1_2, 2_2, 3_3, 4_3, 5_3
            wanted.append(y.clone())
    for found, reference in zip(trunk(x), wanted, strict=True):
        torch.testing.assert_close(found, reference)


def test_hed_features_take_bgr_minus_the_caffe_mean(tmp_path, torchvision_features):
    state = {key: value.half() for key, value in state_of(torchvision_features).items()}
    path = tmp_path / "vgg16_hed_features_fp16.safetensors"
    save_file(state, path)
    trunk = load_trunk("vgg16_hed", weights_dir=tmp_path)
    assert trunk.is_stand_in and trunk.name == "vgg16_hed" and trunk.pooling == "l2"
    x = torch.rand(1, 3, 16, 16)
    bgr = np.stack([x[0, c].numpy() * 255.0 for c in (2, 1, 0)])
    bgr -= np.array([104.00699, 116.66877, 122.67892])[:, None, None]
    y = torch.tensor(bgr[None], dtype=torch.float32)
    for layer in (0, 2):
        weight, bias = (state[f"features.{layer}.{name}"].float() for name in ("weight", "bias"))
        y = nn.functional.conv2d(y, weight, bias, padding=1).relu()
    torch.testing.assert_close(trunk(x)[0], y, atol=1e-3, rtol=1e-4)
