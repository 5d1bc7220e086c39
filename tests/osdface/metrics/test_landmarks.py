"""LMD on constructed geometry; landmark networks on real faces."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from osdface.errors import UserError
from osdface.metrics.landmarks import LandmarkDistance
from osdface.networks.alignment import FFHQ_TEMPLATE
from osdface.networks.landmarks import LandmarkNetwork, decode_heat_maps, load_landmarks


class Corners(nn.Module):
    """Points that can be chosen: the first pixels of the first row, in parts of the side."""

    def forward(self, x):
        return (x[:, :2, 0, :3].transpose(1, 2) + 1) / 2


def test_distance_of_constructed_points() -> None:
    network = LandmarkNetwork(Corners(), "corners", 3, "none", True)
    target = torch.zeros(2, 3, 4, 4)
    restored = target.clone()
    # (3, 4) pixels at 512 is 3/256 and 4/256 in [-1, 1]: one of three points moves by 5 pixels.
    restored[0, 0, 0, 1], restored[0, 1, 0, 1] = 3 / 256, 4 / 256
    restored[1, 0, 0, :3] = 12 / 256
    metric = LandmarkDistance(network)
    assert metric.per_image(restored, target)["lmd"].tolist() == pytest.approx([5 / 3, 12.0])
    metric.update(restored, target)
    assert metric.compute()["lmd"] == pytest.approx((5 / 3 + 12) / 2)
    assert "(stand-in)" in metric.specification()["lmd"]


def test_heat_maps_are_decoded() -> None:
    maps = torch.zeros(1, 3, 8, 16)
    maps[0, 0, 3, 5], maps[0, 0, 3, 6], maps[0, 0, 2, 5] = 1.0, 0.5, 0.25
    maps[0, 1, 0, 0], maps[0, 1, 0, 1] = 1.0, 0.5  # at the border: not moved
    maps[0, 2, 7, 15] = 1.0
    found = decode_heat_maps(maps)[0] * torch.tensor([16, 8])
    assert found.tolist() == [[5.75, 3.25], [0.5, 0.5], [15.5, 7.5]]


def test_heat_maps_are_decoded_as_facexlib_does(monkeypatch) -> None:
    architecture = pytest.importorskip("facexlib.alignment.awing_arch")
    monkeypatch.setattr(np, "float", float, raising=False)  # which NumPy removed and it needs
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(2, 98, 64, 64, generator=generator)
    # Inside: at the border facexlib reads beyond the map, or fails.
    maps[..., 2:-2, 2:-2] += 1
    wanted = architecture.calculate_points(maps.numpy())
    np.testing.assert_allclose((decode_heat_maps(maps) * 64).numpy(), wanted, atol=1e-5)


def test_awing_gets_what_facexlib_gives_it(tmp_path) -> None:
    architecture = pytest.importorskip("facexlib.alignment.awing_arch")
    torch.manual_seed(0)
    network = architecture.FAN(num_modules=4, num_landmarks=98, device="cpu").eval()
    torch.save({"state_dict": network.state_dict()}, tmp_path / "alignment_WFLW_4HG.pth")
    rgb = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    given = cv2.resize(rgb.astype(np.float32), (256, 256)).transpose(2, 0, 1) / 255
    with torch.no_grad():
        maps = network(torch.from_numpy(given)[None])[0][-1][:, :98]
    ours = load_landmarks("awing_fan", tmp_path)
    assert not ours.is_stand_in and ours.points == 98
    image = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 127.5 - 1
    near = (ours(image) - decode_heat_maps(maps) * 512).norm(dim=-1) < 1e-3
    assert near.double().mean() > 0.9  # peaks of random weights may tie
    torch.save({"state_dict": {}}, tmp_path / "alignment_WFLW_4HG.pth")
    with pytest.raises(UserError, match="AWING"):
        load_landmarks("awing_fan", tmp_path)


@pytest.mark.parametrize(("name", "eyes"), [("2d106det", (38, 88)), ("pfld_68", None)])
def test_stand_ins_find_the_eyes_of_real_faces(name, eyes, shared_data) -> None:
    pytest.importorskip("onnxruntime")
    network = load_landmarks(name, shared_data / "data/weights")
    files = sorted((shared_data / "data/faces/hq_512").glob("*"))[:4]
    pictures = [np.asarray(Image.open(file).convert("RGB").resize((512, 512))) for file in files]
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    points = network(images)
    assert points.shape == (4, network.points, 2) and network.is_stand_in
    if eyes is None:
        both = [points[:, 36:42].mean(1), points[:, 42:48].mean(1)]
    else:
        both = [points[:, place] for place in eyes]
    for found, wanted in zip(both, FFHQ_TEMPLATE[:2], strict=True):
        assert (found - torch.tensor(wanted)).norm(dim=1).median() < 25


def test_mistakes(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("OSDFACE_WEIGHTS", raising=False)
    with pytest.raises(UserError, match="awing_fan, 2d106det, pfld_68"):
        load_landmarks("dlib")
    with pytest.raises(UserError, match="download=alignment_WFLW_4HG"):
        load_landmarks("awing_fan", tmp_path)
