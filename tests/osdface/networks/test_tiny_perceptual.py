"""Our perceptual network: shapes, gradients and its file."""

import json

import torch
from safetensors import safe_open

from osdface.networks.perceptual import load_trunk
from osdface.networks.tiny_perceptual import TinyPerceptualHeads, TinyPerceptualNetwork


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
