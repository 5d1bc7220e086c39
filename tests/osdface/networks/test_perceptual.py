"""Feature trunks against torchvision and naive loops."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torchvision.models import vgg

from osdface.errors import UserError
from osdface.networks.perceptual import (
    L2Pool,
    TinyPerceptualHeads,
    TinyPerceptualNetwork,
    VGG16Trunk,
    load_trunk,
)


@pytest.fixture(scope="module")
def torchvision_features() -> nn.Sequential:
    return vgg.make_layers(vgg.cfgs["D"], batch_norm=False).eval()


def state_of(features: nn.Sequential) -> dict[str, torch.Tensor]:
    return {f"features.{name}": value for name, value in features.state_dict().items()}


@pytest.mark.parametrize("size", [6, 7])
def test_l2_pool_is_the_root_of_the_hanning_mean_of_squares(size):
    x = np.random.default_rng(0).normal(size=(2, 3, size, size))
    window = np.hanning(5)[1:-1]
    window = window / window.sum()
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    half = (size + 1) // 2
    wanted = np.zeros((2, 3, half, half))
    for row in range(half):
        for column in range(half):
            for i in range(3):
                for j in range(3):
                    value = padded[:, :, 2 * row + i, 2 * column + j]
                    wanted[:, :, row, column] += window[i] * window[j] * value**2
    np.testing.assert_allclose(L2Pool()(torch.tensor(x)).numpy(), np.sqrt(wanted), atol=1e-9)


def test_l2_pool_has_a_finite_gradient_at_zero():
    x = torch.zeros(1, 2, 4, 4, requires_grad=True)
    L2Pool()(x).sum().backward()
    assert x.grad.abs().max() == 0


def test_tiny_network_and_heads_have_the_promised_shapes_and_size():
    network = TinyPerceptualNetwork()
    features = network(torch.rand(2, 3, 64, 64))
    wanted = [(2, 16, 64, 64), (2, 32, 32, 32), (2, 64, 16, 16), (2, 64, 8, 8)]
    assert [tuple(feature.shape) for feature in features] == wanted
    assert 0.1e6 < sum(p.numel() for p in network.parameters()) < 0.2e6
    heads = TinyPerceptualHeads(network.channels, {"hair": 5, "glasses": 2})
    logits, severity = heads(features)
    shapes = {name: tuple(value.shape) for name, value in logits.items()}
    assert shapes == {"hair": (2, 5), "glasses": (2, 2)} and severity.shape == (2, 3)
    (logits["hair"].sum() + severity.sum()).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


def test_tiny_network_survives_its_file_and_is_frozen(tmp_path):
    network = TinyPerceptualNetwork((4, 8), name="mine")
    network.save(tmp_path / "t.safetensors", steps="12")
    trunk = load_trunk(str(tmp_path / "t.safetensors"))
    x = torch.rand(1, 3, 16, 16)
    for before, after in zip(network(x), trunk(x), strict=True):
        assert torch.equal(before, after)
    assert trunk.name == "mine" and trunk.is_stand_in and trunk.channels == (4, 8)
    assert not trunk.training and not any(p.requires_grad for p in trunk.parameters())
    with safe_open(tmp_path / "t.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["steps"] == "12" and json.loads(metadata["architecture"])["channels"] == [4, 8]


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


@pytest.mark.parametrize(
    ("spec", "words"),
    [("vgg61", "vgg16"), ("absent.safetensors", "absent.safetensors"), ("junk.safetensors", "not")],
)
def test_bad_specifications_are_user_errors(tmp_path, spec, words):
    (tmp_path / "junk.safetensors").write_text("no weights")
    with pytest.raises(UserError, match=words):
        load_trunk(spec, weights_dir=tmp_path)


def test_another_networks_file_is_a_user_error(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="no VGG16"):
        load_trunk(str(tmp_path / "x.pth"))
    with pytest.raises(UserError, match="pooling"):
        VGG16Trunk("mean")
