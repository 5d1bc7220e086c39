"""The registry is complete and true of the files at hand; a missing file tells its row."""

import re
from pathlib import Path

import pytest
import yaml

from osdface.errors import UserError
from osdface.faces import detection
from osdface.networks import identity, perceptual
from osdface.paths import find_weight
from osdface.weights import entry, registry
from osdface.weights.registry import Weight, size_text

ROOT = Path(__file__).resolve().parents[3]
# What downloads by itself, into site-packages or a home folder, where nothing said where to.
_DOWNLOADERS = re.compile(
    r"load_file_from_url|init_\w+_model\(|FaceRestoreHelper|load_state_dict_from_url|hub\.load"
    r"|pretrained=True|lpips\.LPIPS\(|weights=\"|(?:snapshot|hf_hub)_download\((?!.*local_files_only=True)"
)


def test_every_entry_is_well_formed() -> None:
    names = [weight.name for weight in registry()]
    assert len(set(names)) == len(names) > 15
    for weight in registry():
        assert weight.needed_by and weight.licence, weight.name
        assert re.fullmatch("[0-9a-f]*", weight.sha256) and len(weight.sha256) <= 64
        assert bool(weight.sha256) == bool(weight.proof), weight.name
        assert weight.proof in ("", "measured", "stated", "name")
        assert not weight.address or weight.address.startswith("https://")
        assert weight.address or weight.note, f"{weight.name}: where from?"
        assert ".." not in weight.place and not weight.place.startswith("/")
        if weight.proof == "name":
            assert weight.sha256 in weight.name


def test_every_file_that_the_code_names_is_in_it() -> None:
    named = {*identity._FILES.values(), *perceptual._FILES.values(), *detection.WEIGHTS}
    for name in named:
        assert name.startswith("shipped:") or entry(name), name


def test_every_file_that_a_scale_needs_is_in_it() -> None:
    files = {**identity._FILES, **perceptual._FILES}
    for file in (ROOT / "experiments/conf/scale").glob("*.yaml"):
        chosen = yaml.safe_load(file.read_text("utf-8"))["scale"]["stage2"]
        for key in ("perceptual_loss", "perceptual_metric", "identity_loss", "identity_metric"):
            name = files[chosen[key]]
            assert name.startswith("shipped:") or entry(name), name


def test_it_is_true_of_the_files_at_hand(shared_data) -> None:
    root = shared_data / "data/weights"
    found = {weight.name: weight.find(root) for weight in registry()}
    measured = [weight for weight in registry() if weight.proof == "measured"]
    assert len(measured) >= 7
    for weight in measured:
        path = found[weight.name]
        assert path is not None and not weight.fault(path), weight.name


def test_a_missing_file_tells_its_row_in_one_line(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("OSDFACE_WEIGHTS", raising=False)
    with pytest.raises(UserError) as error:
        find_weight("vgg16-397923af.pth", tmp_path)
    text = str(error.value)
    parts = ["527.8 MiB", "BSD-3-Clause", "https://download.pytorch.org/models/vgg16"]
    parts.append(f"experiments.weights download=vgg16-397923af.pth weights_dir={tmp_path}")
    for part in parts:
        assert part in text
    assert "\n" not in text
    with pytest.raises(UserError, match=r"is set.*weights_dir=DIR"):
        find_weight("vgg16-397923af.pth")
    with pytest.raises(UserError, match=r"published nowhere.*by hand"):
        find_weight("vgg16_hed_features_fp16.safetensors", tmp_path)
    with pytest.raises(UserError, match="put it there, or set weights_dir="):
        find_weight("of_mine.pth", tmp_path)


def test_files_that_belong_together_are_found_by_all_of_them(tmp_path) -> None:
    weight = Weight("pair", "a test", "MIT", files=("pair/a/x.json", "pair/b.bin"))
    (tmp_path / "deep/pair/a").mkdir(parents=True)
    (tmp_path / "deep/pair/a/x.json").touch()
    assert weight.find(tmp_path) is None
    (tmp_path / "deep/pair/b.bin").touch()
    assert weight.find(tmp_path) == tmp_path / "deep"


def test_sizes_read_well() -> None:
    assert [size_text(n) for n in (None, 11850, 553433881, 2**31)] == [
        "size unknown", "11.6 KiB", "527.8 MiB", "2.00 GiB"
    ]  # fmt: skip


def test_nothing_is_fetched_behind_the_users_back() -> None:
    folders = ("osdface", "lightning_modules", "datamodules", "callbacks", "experiments")
    sources = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    found = {
        str(file.relative_to(ROOT)): hits
        for file in sources
        if (hits := _DOWNLOADERS.findall(file.read_text("utf-8")))
    }
    assert found == {}
