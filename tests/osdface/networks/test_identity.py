"""Recognition networks by name: freezing, inputs, and real faces where there are any."""

import copy
import importlib

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from osdface.errors import UserError
from osdface.losses.identity import IdentityLoss
from osdface.networks.identity import load_identity
from osdface.networks.tiny_identity import TinyIdentityNetwork


def test_a_loaded_network_is_frozen_and_never_trains_its_batch_norm(tmp_path):
    network = TinyIdentityNetwork(widths=(4, 8, 8), embedding_size=16)
    network(torch.randn(8, 3, 64, 64))  # moves the running statistics
    network.save(tmp_path / "me.safetensors", data="portraits")
    encoder = load_identity(str(tmp_path / "me.safetensors"))
    assert encoder.is_stand_in and encoder.differentiable and "me" in encoder.name
    parent = nn.ModuleList([encoder]).train()
    x = torch.randn(2, 3, 32, 32, requires_grad=True)
    before = copy.deepcopy(encoder.state_dict())
    y = parent[0](x)
    torch.testing.assert_close(y, network.eval()(x))
    y[:, 0].sum().backward()
    assert x.grad.abs().max() > 0 and not any(p.requires_grad for p in encoder.parameters())
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())


def test_arcface_of_facexlib_gets_the_whole_crop_resized(tmp_path, monkeypatch):
    seen = []

    class Backbone(nn.Module):
        def __init__(self, *options):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(2))
            seen.append(options)

        def forward(self, x):
            seen.append(tuple(x.shape))
            return x.mean((2, 3)) * 5 + self.weight.sum()

    torch.save({"weight": torch.zeros(2)}, tmp_path / "recognition_arcface_ir_se50.pth")
    module = importlib.import_module("facexlib.recognition.arcface_arch")
    monkeypatch.setattr(module, "Backbone", Backbone)
    encoder = load_identity("arcface_ir_se50", tmp_path)
    y = encoder(torch.rand(2, 3, 160, 160))
    assert seen == [(50, 0.6, "ir_se"), (2, 3, 112, 112)]
    torch.testing.assert_close(y.norm(dim=1), torch.ones(2))
    assert encoder.name == "arcface_ir_se50" and not encoder.is_stand_in


def test_real_arcface_of_a_local_file_is_the_loss_s_network(tmp_path):
    torch.manual_seed(0)
    backbone = importlib.import_module("facexlib.recognition.arcface_arch").Backbone(
        50, 0.6, "ir_se"
    )
    torch.save(backbone.state_dict(), tmp_path / "recognition_arcface_ir_se50.pth")
    encoder = load_identity("arcface_ir_se50", tmp_path)
    restored, target = (torch.rand(1, 3, 112, 112) * 2 - 1 for _ in range(2))
    restored.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):  # the loss is a float32 island
        loss = IdentityLoss(encoder)(restored, target)
    loss.backward()
    with torch.no_grad():
        raw = [backbone.eval()(image)[0].double() for image in (restored, target)]
    wanted = 1 - raw[0] @ raw[1] / (raw[0].norm() * raw[1].norm())
    assert float(loss) == pytest.approx(float(wanted), abs=1e-5) and loss.dtype == torch.float32
    assert restored.grad.abs().max() > 0 and all(p.grad is None for p in encoder.parameters())


def test_missing_onnxruntime_is_a_user_error(tmp_path, monkeypatch):
    (tmp_path / "w600k_mbf.onnx").write_bytes(b"")

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UserError, match="pip install onnxruntime"):
        load_identity("w600k_mbf", tmp_path)


def test_unknown_names_are_user_errors():
    with pytest.raises(UserError, match="one of mobilefacenet"):
        load_identity("mobilfacenet")


def faces_of_people(folder, people, each):
    by_person = {}
    for path in sorted(folder.glob("*.jpg")):
        by_person.setdefault(path.stem.rsplit("_", 1)[0], []).append(path)
    chosen = [paths[:each] for paths in by_person.values() if len(paths) >= each][:people]
    images = [cv2.imread(str(path))[..., ::-1] for paths in chosen for path in paths]
    faces = torch.tensor(np.stack(images)).permute(0, 3, 1, 2) / 127.5 - 1
    return faces, torch.arange(len(chosen)).repeat_interleave(each)


@pytest.mark.parametrize(("spec", "people"), [("mobilefacenet", 20), ("w600k_mbf", 10)])
def test_real_faces_are_told_apart(shared_data, spec, people):
    pytest.importorskip("onnxruntime") if spec == "w600k_mbf" else None
    faces, person = faces_of_people(shared_data / "data/faces/lfw_aligned_128", people, 3)
    encoder = copy.deepcopy(load_identity(spec, shared_data / "data/weights"))  # as metrics are
    with torch.no_grad():
        e = encoder(faces)
    assert len(faces) == 3 * people and encoder.differentiable == (spec == "mobilefacenet")
    pairs = torch.triu_indices(len(faces), len(faces), 1)
    cosine, same = (e @ e.T)[pairs[0], pairs[1]], person[pairs[0]] == person[pairs[1]]
    assert cosine[same].mean() > 0.5 and cosine[~same].mean() < 0.1
    # Both kinds of pairs count alike; there are far more different ones.
    rates = [
        ((cosine[same] > t).float().mean() + (cosine[~same] <= t).float().mean()) / 2
        for t in torch.linspace(0, 1, 101)
    ]
    assert max(rates) >= 0.97
