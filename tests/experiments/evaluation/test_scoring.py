"""The seam: figures of two folders against naive ones, and what they were measured by."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.portraits import render_portrait
from experiments.evaluation.scoring import ScoringSettings, measures, score
from osdface.errors import UserError
from osdface.networks.identity import load_identity

TINY = ScoringSettings(
    "tiny", "tiny_b", device="cpu", metrics=("psnr", "ssim", "lpips", "dists", "deg")
)
BARE = ScoringSettings(device="cpu", metrics=("psnr", "ssim"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("faces")
    for person in range(3):
        for name, shift in (("hq", 0), ("restored", 9)):
            (root / name).mkdir(exist_ok=True)
            image = render_portrait(3, person, 0, 64).image.astype(int) + shift
            image = np.clip(image, 0, 255).astype(np.uint8)
            Image.fromarray(image).save(root / name / f"p{person}.png")
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(root / "hq/more.png")
    return root


def read(folder):
    files = sorted(folder.glob("p*.png"))
    return [np.asarray(Image.open(file)).astype(np.float64) / 255 for file in files]


def test_figures_against_naive_ones(folders) -> None:
    found = score(folders / "restored", folders / "hq", "celeba_test", TINY)
    pairs = list(zip(read(folders / "restored"), read(folders / "hq"), strict=True))
    psnr = [-10 * math.log10(np.mean((x - y) ** 2)) for x, y in pairs]
    assert found["psnr"] == pytest.approx(np.mean(psnr), abs=1e-5)
    encoder = load_identity("tiny_b")
    angles = []
    for x, y in pairs:
        both = torch.tensor(np.stack([x, y]) * 2 - 1, dtype=torch.float32).permute(0, 3, 1, 2)
        first, second = encoder(both).double()
        angles.append(math.degrees(math.acos(min(1.0, float(first @ second)))))
    assert found["deg"] == pytest.approx(np.mean(angles), abs=1e-3)
    assert 0 < found["lpips"] < 2 and 0 < found["dists"] < 1
    assert found.keys() == measures("celeba_test", TINY).keys()
    # A second folder is not added to the first.
    again = score(folders / "restored", folders / "hq", "celeba_test", TINY)
    assert again == found
    same = score(folders / "hq", folders / "hq", "celeba_test", TINY)
    assert same["psnr"] == 100 and same["lpips"] == 0 and same["deg"] == pytest.approx(0, abs=1e-3)


def test_distances_of_sets_and_what_is_kept(folders, tmp_path) -> None:
    settings = replace(TINY, features="tiny", metrics=("fid_hq",), cache=str(tmp_path / "kept"))
    settings = replace(settings, fid_reference=None)
    first = score(folders / "restored", folders / "hq", "celeba_test", settings)
    assert first["fid_hq"] > 0 and list((tmp_path / "kept").rglob("*.safetensors"))
    assert score(folders / "restored", folders / "hq", "celeba_test", settings) == first


def test_stand_ins_are_named_and_not_comparable() -> None:
    found = measures("celeba_test", TINY)
    assert {key: measure.comparable for key, measure in found.items()} == {
        "psnr": True, "ssim": True, "lpips": False, "dists": False, "deg": False
    }  # fmt: skip
    for key in ("lpips", "dists", "deg"):
        assert "(stand-in)" in found[key].text and "weights" in found[key].text
    assert set(measures("celeba_test", BARE)) == {"psnr", "ssim"}


def test_none_leaves_figures_out() -> None:
    settings = ScoringSettings(None, None, None, None)
    assert settings.columns("celeba_test") == ("psnr", "ssim", "musiq", "niqe")
    assert settings.columns("real_world") == ("clipiqa", "maniqa", "musiq", "niqe")
    whole = ScoringSettings().columns("celeba_test")
    assert {"fid_ffhq", "fid_hq", "lmd", "deg", "lpips", "psnr"} <= set(whole)


def test_mistakes(folders, tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("OSDFACE_WEIGHTS", raising=False)
    for name, missing in (("lpips", "vgg16-397923af.pth"), ("deg", "arcface_resnet18.pth")):
        with pytest.raises(UserError, match=f"download={missing}"):
            settings = ScoringSettings(weights_dir=str(tmp_path), metrics=(name,))
            measures("celeba_test", settings)
    with pytest.raises(UserError, match="There is no suite"):
        measures("celeba", BARE)
    with pytest.raises(UserError, match="need reference=DIR"):
        score(folders / "restored", None, "celeba_test", BARE)
    with pytest.raises(UserError, match=r"extra: more\.png"):
        score(folders / "hq", folders / "restored", "celeba_test", BARE)
    (tmp_path / "small").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "small/p0.png")
    with pytest.raises(UserError, match=r"size: p0\.png: 8x8, its original 64x64"):
        score(tmp_path / "small", folders / "hq", "celeba_test", BARE)
