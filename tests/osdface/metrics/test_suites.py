"""The suites: shared networks give the same figures, every figure says what it rests on."""

import sys
import types
import warnings
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from osdface.errors import UserError
from osdface.losses.dists import DISTS
from osdface.losses.lpips import LPIPS
from osdface.metrics import banded, pyiqa_quality
from osdface.metrics.pyiqa_quality import Quality
from osdface.metrics.similarity import PerceptualSimilarity
from osdface.metrics.suites import SUITES, SuiteSettings, build_suite, chosen, specifications
from osdface.networks.alexnet import AlexNetTrunk
from osdface.networks.arcface_resnet18 import ArcFaceResNet18, GrayResize
from osdface.networks.vgg16 import VGG16Trunk

TINY = SuiteSettings("tiny", None, "tiny_b", "2d106det", "tiny")


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(3, 3, 64, 64, generator=generator) * 2 - 1
    return (target + torch.randn(3, 3, 64, 64, generator=generator) / 3).clamp(-1, 1), target


def test_one_first_stage_for_both_changes_no_figure(pair) -> None:
    torch.manual_seed(0)
    maximum, soft = VGG16Trunk("max").eval(), VGG16Trunk("l2").eval()
    soft.load_state_dict(maximum.state_dict())
    calls = []
    for trunk in (maximum, soft):
        trunk.features[0].register_forward_hook(lambda *_: calls.append(1))
    lpips, dists = LPIPS(maximum), DISTS(soft)
    found = PerceptualSimilarity(lpips, dists).per_image(*pair)
    assert len(calls) == 2 * len(pair[0])  # one an image side, not two
    with torch.no_grad():
        torch.testing.assert_close(found["lpips"].float(), lpips.per_image(*pair))
        torch.testing.assert_close(found["dists"].float(), dists.per_image(*pair))
    assert PerceptualSimilarity(None, dists).names == ("dists",)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_bands_are_the_losses_own_comparison(layout, monkeypatch) -> None:
    monkeypatch.setattr(banded, "_BAND", 1000)  # 15 places of 64 channels, not a divisor of 221
    generator = torch.Generator().manual_seed(0)
    trunk = VGG16Trunk("max")
    maps = [
        [torch.rand(2, c, 13, 17, generator=generator, dtype=torch.float64) for c in trunk.channels]
        for _ in range(2)
    ]
    maps[0][0][:, :, 3] = 0  # places without any activation
    x, y = ([each.to(memory_format=layout) for each in image] for image in maps)
    lpips, dists = LPIPS(trunk).double(), DISTS(VGG16Trunk()).double()
    found = sum(
        banded.lpips_stage(a, b, lpips.get_buffer(f"head{i}"))
        for i, (a, b) in enumerate(zip(x, y, strict=True))
    )
    torch.testing.assert_close(found, lpips.compare(x, y), rtol=1e-12, atol=0)
    images = [torch.rand(2, 3, 13, 17, generator=generator).double() for _ in range(2)]
    x, y = [images[0], *x], [images[1], *y]
    weights = zip(*(w.split(dists.channels) for w in (dists.alpha, dists.beta)), strict=True)
    parts = [banded.dists_stage(a, b, *each) for a, b, each in zip(x, y, weights, strict=True)]
    torch.testing.assert_close(sum(parts), dists.compare(x, y), rtol=1e-12, atol=0)
    assert banded.dists_stage(x[1], x[1], dists.alpha[:64], dists.beta[:64]).tolist() == [0, 0]


def test_networks_of_different_weights_share_nothing(pair) -> None:
    torch.manual_seed(0)
    lpips, dists = LPIPS(VGG16Trunk("max").eval()), DISTS(VGG16Trunk("l2").eval())
    found = PerceptualSimilarity(lpips, dists, same_weights=False).per_image(*pair)
    with torch.no_grad():
        torch.testing.assert_close(found["lpips"].float(), lpips.per_image(*pair))
        torch.testing.assert_close(found["dists"].float(), dists.per_image(*pair))


def test_features_of_a_target_that_are_known_are_not_computed(pair, monkeypatch) -> None:
    suite = build_suite(("psnr", "deg"), TINY)
    wanted = suite.per_image(*pair)
    ((column, part),) = suite.comparisons(["psnr", "deg"]).items()
    assert column == "deg" and not suite.comparisons(["psnr"])
    known = {column: part.features(pair[1])}
    seen = []
    original = part.features
    monkeypatch.setattr(part, "features", lambda images: seen.append(1) or original(images))
    found = suite.per_image(*pair, known=known)
    assert len(seen) == 1  # of the restored images alone
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_lpips_on_alexnet_is_the_package(monkeypatch, pair) -> None:
    lpips = pytest.importorskip("lpips")
    torch.manual_seed(0)
    trunk = AlexNetTrunk().eval()
    layers = list(trunk.features)
    layers.append(nn.MaxPool2d(3, 2))  # torchvision's last, which LPIPS does not look at
    fake = SimpleNamespace(alexnet=lambda **_: SimpleNamespace(features=nn.Sequential(*layers)))
    monkeypatch.setattr(lpips.pretrained_networks, "tv", fake)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    with torch.no_grad():
        wanted = network(*pair).flatten()
        found = LPIPS(trunk).per_image(*pair)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-4)


def test_a_suite_is_a_metric_of_the_papers_columns(pair) -> None:
    names = ("psnr", "lpips", "dists", "deg")
    suite = build_suite(names, TINY)
    suite.update(*(each[:2] for each in pair))
    suite.update(*(each[2:] for each in pair))
    found = suite.compute()
    assert tuple(found) == names
    each = suite.per_image(*pair)
    assert found == pytest.approx({k: float(v.mean()) for k, v in each.items()}, rel=1e-6)
    assert set(suite.per_image(*pair, only=["deg"])) == {"deg"}
    words = suite.specification()
    assert all("(stand-in)" in words[name] for name in ("lpips", "dists", "deg"))
    assert "weights" in words["deg"] and "(stand-in)" not in words["psnr"]
    for target in (None, pair[1][..., :32]):
        with pytest.raises(UserError, match="Paired figures need targets"):
            suite.update(pair[0], target)


def test_every_column_of_the_paper_is_there(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("OSDFACE_WEIGHTS", raising=False)
    from experiments.baselines.paper import LAYOUTS, SETS

    assert {column.key for column in LAYOUTS["1"].columns} == set(SUITES["celeba_test"])
    keys = {f"{place}_{name}" for place in SETS for name in SUITES["real_world"]}
    assert {column.key for column in LAYOUTS["2"].columns} == keys
    settings = SuiteSettings(weights_dir=str(tmp_path))
    for suite in SUITES:
        for name in chosen(suite):  # a missing file is told with its row, whichever it is
            with pytest.raises(UserError, match=r"was not found.*download="):
                specifications([name], settings)
    with pytest.raises(UserError, match="no metric 'lpisp'"):
        chosen("celeba_test", ["lpisp"])
    with pytest.raises(UserError, match="There is no suite"):
        chosen("celeba")


def test_gray_input_of_deg_is_opencvs() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    gray = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), (128, 128))
    image = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 127.5 - 1
    found = (GrayResize()(image)[0, 0].numpy() + 1) * 127.5
    assert np.abs(found - gray).max() < 1.1  # it rounds to bytes twice


def test_the_network_of_deg_reads_files_of_dataparallel() -> None:
    torch.manual_seed(0)
    network = ArcFaceResNet18().eval()
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    again = ArcFaceResNet18.from_released(state).eval()
    x = torch.rand(2, 1, 128, 128)
    with torch.no_grad():
        assert torch.equal(again(x), network(x)) and network(x).shape == (2, 512)
    with pytest.raises(UserError, match="no weights of ArcFace's ResNet-18"):
        ArcFaceResNet18.from_released({"conv1.weight": torch.zeros(1)})


class Bright(nn.Module):
    """Stands in for a network of pyiqa, which takes images in [0, 1]."""

    def load_weights(self, path, weight_keys):
        self.path = path

    def forward(self, image):
        assert image.shape[0] == 1 and image.min() >= 0 and image.max() <= 1
        return image.mean().view(1, 1) * 100


@pytest.mark.parametrize("name", ["musiq", "maniqa", "clipiqa"])
def test_pyiqa_is_asked_without_a_download(name, tmp_path, monkeypatch, pair) -> None:
    file = tmp_path / pyiqa_quality.FILES[name]
    file.write_bytes(b"weights")
    asked = []

    def create_metric(kind, **given):
        asked.append((kind, given))
        if kind == "maniqa":
            assert sys.modules["timm"].create_model("vit", pretrained=True) == {"pretrained": False}
        return Bright()

    fake = types.ModuleType("pyiqa")
    fake.create_metric = create_metric
    timm = types.ModuleType("timm")
    timm.create_model = lambda _, **given: given
    monkeypatch.setitem(sys.modules, "pyiqa", fake)
    monkeypatch.setitem(sys.modules, "timm", timm)
    with pytest.raises(UserError, match="is not the file of"):  # another file of that name
        Quality(name, tmp_path)
    monkeypatch.setattr(pyiqa_quality, "entry", lambda _: None)
    metric = Quality(name, tmp_path)
    given = asked[-1][1]
    assert str(file) in (
        given.get("pretrained_model_path"),
        given.get("backbone"),
        getattr(metric.network, "path", ""),
    )
    metric.update(pair[1])
    assert metric.compute()[name] == pytest.approx(float((pair[1] + 1).mean()) * 50, rel=1e-5)


def test_without_pyiqa_there_is_a_sentence(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("OSDFACE_WEIGHTS", raising=False)
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(UserError, match=r"download=musiq_koniq"):
        Quality("musiq", tmp_path)
    (tmp_path / "RN50.pt").write_bytes(b"x")
    monkeypatch.setattr(pyiqa_quality, "entry", lambda _: None)
    with pytest.raises(UserError, match=r"osdface\[iqa\].*RN50.pt.*metrics="):
        Quality("clipiqa", tmp_path)
