"""Recognition networks: margins, alignment, freezing, and real faces where there are any."""

import copy
import importlib
import math

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from osdface.errors import UserError
from osdface.networks.identity import (
    ARCFACE_TEMPLATE,
    FFHQ_TEMPLATE,
    ArcFaceCrop,
    ArcMarginHead,
    MobileFaceNet,
    TinyIdentityNetwork,
    fit_similarity,
    load_identity,
)


def test_tiny_network_embeds_any_size_with_unit_norm():
    network = TinyIdentityNetwork().eval()
    assert 0.2e6 < sum(p.numel() for p in network.parameters()) < 0.45e6
    smooth = nn.functional.interpolate(torch.rand(2, 3, 8, 8), (128, 128), mode="bicubic")
    large = network(smooth)
    small = network(nn.functional.interpolate(smooth, (64, 64), mode="area"))
    assert large.shape == (2, 128)
    torch.testing.assert_close(large.norm(dim=1), torch.ones(2))
    assert (large * small).sum(1).min() > 0.999


def test_arc_margin_is_the_papers_formula():
    torch.manual_seed(0)
    head = ArcMarginHead(4, margin=0.5, scale=8.0, embedding_size=3).double()
    # The second embedding is nearly opposite to its class, where theta + margin > pi.
    e = torch.stack([torch.randn(3).double(), -head.weight[2].detach() + 0.01])
    e, labels = nn.functional.normalize(e), torch.tensor([1, 2])
    wanted = np.zeros((2, 4))
    for i in range(2):
        for j in range(4):
            w = head.weight[j].detach().numpy()
            cosine = float(e[i].numpy() @ w / np.linalg.norm(w))
            theta = math.acos(cosine)
            if j == labels[i]:
                above = theta + 0.5 > math.pi
                cosine = cosine - 0.5 * math.sin(0.5) if above else math.cos(theta + 0.5)
                assert above == (i == 1)
            wanted[i, j] = 8 * cosine
    np.testing.assert_allclose(head(e, labels).detach().numpy(), wanted, atol=1e-9)
    plain = head(e)  # without labels no margin
    assert plain[0, 1] != head(e, labels)[0, 1] and plain[0, 0] == head(e, labels)[0, 0]


def test_arc_margin_has_a_finite_gradient_for_a_perfect_embedding():
    head = ArcMarginHead(3, embedding_size=4)
    e = nn.functional.normalize(head.weight.detach()[:1]).requires_grad_()
    head(e, torch.tensor([0])).sum().backward()
    assert e.grad.isfinite().all() and head.weight.grad.isfinite().all()


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


def test_similarity_is_the_least_squares_one():
    source, target = np.array(FFHQ_TEMPLATE), np.array(ARCFACE_TEMPLATE)
    rows, values = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):  # u = a x - b y + c, v = b x + a y + d
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        values += [u, v]
    a, b, c, d = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    np.testing.assert_allclose(fit_similarity(source, target), [[a, -b, c], [b, a, d]], atol=1e-9)


@pytest.mark.parametrize("size", [64, 128, 512])
def test_crop_is_opencvs_warp_at_any_resolution(size):
    y, x = np.mgrid[:512, :512] / 511.0
    face = np.stack([np.sin(7 * x + 3 * y), np.cos(5 * y * x), np.sin(9 * y)], -1)
    wanted = cv2.warpAffine(
        cv2.GaussianBlur(face, (0, 0), 1.5),
        fit_similarity(FFHQ_TEMPLATE, ARCFACE_TEMPLATE),
        (112, 112),
        flags=cv2.INTER_LINEAR,
    )
    image = cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    found = ArcFaceCrop()(torch.tensor(image).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    assert found.shape == (112, 112, 3)
    # A shift of one pixel of the crop would differ by 0.05.
    assert np.abs(found - wanted).max() < 0.012


def test_crop_passes_a_gradient():
    x = torch.zeros(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    ArcFaceCrop()(x).sum().backward()
    assert (x.grad > 0).sum() >= 36  # the crop covers three quarters of either axis


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


def test_mobilefacenet_has_its_published_size():
    assert sum(p.numel() for p in MobileFaceNet().parameters()) == 999_936


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
