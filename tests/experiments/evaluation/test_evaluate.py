"""``python -m experiments.evaluate`` on drawn portraits, by real processes."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from experiments.evaluate import main
from experiments.evaluation import reading
from experiments.evaluation.results import Evaluation
from osdface.metrics.feature_statistics import FeatureStatistics, frechet_distance
from osdface.metrics.identity import IdentitySimilarity
from osdface.metrics.specification import Specification
from osdface.networks.features import FeatureNetwork, load_features
from tests.experiments.evaluation.conftest import COUNT

TINY = ["perceptual=tiny", "identity=tiny_b", "features=tiny", "device=cpu"]
FIGURES = "metrics=psnr,ssim,lpips,dists,deg,fid_hq,fid_ffhq,kid"


def words(faces, output="out", *more):
    given = [f"restored={faces / 'restored'}", f"reference={faces / 'hq'}", "suffix=_00"]
    given += [f"fid_reference={faces / 'ffhq'}", f"output_dir={faces / output}", FIGURES, *TINY]
    return [*given, *more]


def read(path):
    with open(path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return rows, json.loads((path / "summary.json").read_text())


def tensors(folder):
    files = sorted(folder.glob("*.png"))
    levels = np.stack([np.asarray(Image.open(file)) for file in files])
    return torch.from_numpy(levels).permute(0, 3, 1, 2).float() / 127.5 - 1


def test_tables_hold_the_naive_figures(faces, capsys) -> None:
    assert main(words(faces)) == 0
    out = faces / "out"
    rows, summary = read(out)
    assert [row["image"] for row in rows] == [f"p{person}" for person in range(COUNT)]
    x, y = tensors(faces / "restored"), tensors(faces / "hq")
    psnr = -10 * torch.log10(((x - y) / 2).double().square().flatten(1).mean(1)).clamp(min=-10)
    psnr[0] = 100  # equal
    assert [float(row["psnr"]) for row in rows] == pytest.approx(psnr.tolist(), abs=1e-4)
    values = summary["values"]
    for name in ("psnr", "ssim", "lpips", "dists", "deg"):
        assert values[name] == pytest.approx(np.mean([float(row[name]) for row in rows]))
    network = load_features("tiny")
    sets = [FeatureStatistics.of(network(each)) for each in (x, y, tensors(faces / "ffhq"))]
    assert values["fid_hq"] == pytest.approx(frechet_distance(sets[0], sets[1]), rel=1e-4)
    assert values["fid_ffhq"] == pytest.approx(frechet_distance(sets[0], sets[2]), rel=1e-4)
    # Stand-ins stand in every file and on the screen.
    assert summary["stand_ins"] == ["lpips", "dists", "deg", "fid_hq", "fid_ffhq", "kid"]
    assert rows[0]["stand_ins"] == "lpips dists deg" == rows[0]["not_comparable"]
    title = (out / "summary.md").read_text().splitlines()[0]
    assert "stand-in networks measured lpips, dists, deg" in title
    printed = capsys.readouterr().out
    assert "Stand-in networks measure lpips" in printed and "deg" in printed
    specification = summary["specifications"]["lpips"]
    assert len(specification["weights"]) == 64 and specification["stand_in"]
    assert "9 images of ffhq" in summary["specifications"]["fid_ffhq"]["statistics"]
    for name in ("worst", "best"):
        with Image.open(out / f"{name}.png") as image:
            assert image.width > 128
    leftovers = [path.name for path in out.iterdir() if path.name.startswith(".")]
    assert set(leftovers) == {".cache", ".lock"}


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_processes_change_no_figure(faces, count) -> None:
    assert main(words(faces, "one", "batch=5")) == 0
    assert main(words(faces, "four", f"processes={count}", "batch=2", "progress=false")) == 0
    (rows, one), (others, four) = read(faces / "one"), read(faces / "four")
    for name, value in one["values"].items():
        near = {"rel": 1e-4} if name.startswith(("fid", "kid")) else {"abs": 1e-5}
        assert four["values"][name] == pytest.approx(value, **near), name
    assert [row["image"] for row in rows] == [row["image"] for row in others]


def test_a_second_command_computes_nothing_twice(faces, monkeypatch) -> None:
    assert main(words(faces, "out", "metrics=psnr,lpips,fid_hq")) == 0
    before = read(faces / "out")[1]["values"]
    decoded = []
    original = reading.decoded
    monkeypatch.setattr(reading, "decoded", lambda *a: decoded.append(a[1].stem) or original(*a))
    monkeypatch.setattr(
        "experiments.evaluation.work.build_suite", lambda *_: pytest.fail("networks are loaded")
    )
    assert main(words(faces, "out", "metrics=psnr,lpips,fid_hq")) == 0
    assert decoded == [] and read(faces / "out")[1]["values"] == before
    # A further figure, and another picture of the same name, are what is computed.
    monkeypatch.undo()
    monkeypatch.setattr(reading, "decoded", lambda *a: decoded.append(a[1].stem) or original(*a))
    shutil.copy(faces / "hq/p1.png", faces / "restored/p4_00.png")
    shutil.copy(faces / "hq/p1.png", faces / "hq/p4.png")
    assert main(words(faces, "out", "metrics=psnr,lpips,fid_hq")) == 0
    assert decoded == ["p4_00", "p4"]
    rows, _ = read(faces / "out")
    assert float(rows[4]["psnr"]) == 100


def test_an_original_goes_through_the_small_networks_once(faces, monkeypatch) -> None:
    """Another method's images against the same originals, into the same output folder."""
    given = words(faces, "out", "metrics=deg,lpips,fid_hq")
    assert main(given) == 0
    other = faces / "other"
    shutil.copytree(faces / "restored", other)
    for file in other.iterdir():
        levels = np.asarray(Image.open(file)).astype(int) - 5
        Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8)).save(file)
    alone = [*given, f"restored={other}", f"output_dir={faces / 'alone'}"]
    assert main(alone) == 0
    seen = {"deg": 0, "fid": 0}

    def counted(name, original):
        def call(self, images):
            seen[name] += len(images)
            return original(self, images)

        return call

    for name, owner, method in (
        ("deg", IdentitySimilarity, "features"), ("fid", FeatureNetwork, "forward")
    ):  # fmt: skip
        monkeypatch.setattr(owner, method, counted(name, getattr(owner, method)))
    assert main([*given, f"restored={other}"]) == 0
    assert seen == {"deg": COUNT, "fid": COUNT}  # the restored images, not the originals
    assert read(faces / "out")[1]["values"] == read(faces / "alone")[1]["values"]


def test_a_killed_command_goes_on(faces) -> None:
    given = words(faces, "out", "batch=1", "metrics=psnr,dists")
    slow = (
        "import sys, time; from osdface.metrics.suites import SuiteMetrics as S; p = S.per_image\n"
        "S.per_image = lambda *a, **k: (time.sleep(0.5), p(*a, **k))[1]\n"
        "from experiments.evaluate import main; sys.exit(main(sys.argv[1:]))"
    )
    process = subprocess.Popen([sys.executable, "-c", slow, *given], stdout=subprocess.DEVNULL)
    cache = faces / "out/.cache"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        lines = sum(len(f.read_text().splitlines()) for f in cache.glob("*.jsonl"))
        if lines >= 2:
            break
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (faces / "out/summary.json").exists()
    known = sum(len(f.read_text().splitlines()) for f in cache.glob("*.jsonl"))
    assert 2 <= known < COUNT
    with open(next(cache.glob("*.jsonl")), "a") as file:
        file.write('["torn line')
    assert main(given) == 0
    total = sum(len(f.read_text().splitlines()) for f in cache.glob("*.jsonl"))
    assert total == COUNT + 1 and len(read(faces / "out")[0]) == COUNT


def test_differences_are_listed_and_refused(faces, capsys) -> None:
    restored = faces / "restored"
    (restored / "p0_00.png").unlink()
    Image.new("RGB", (64, 64)).save(restored / "stranger_00.png")
    Image.new("RGB", (32, 64)).save(restored / "p1_00.png")
    whole = (restored / "p2_00.png").read_bytes()
    (restored / "p2_00.png").write_bytes(whole[: len(whole) // 2])  # its head is good
    (restored / "p3_00.png").write_bytes(b"no picture")
    given = words(faces, "out", "metrics=psnr")
    assert main(given) == 2
    error = capsys.readouterr().err
    assert "1 missing (p0.png)" in error and "1 extra (stranger_00.png)" in error
    assert "32x64, its original 64x64" in error and "allow=missing,extra" in error
    assert main([*given, "allow=missing,extra,size"]) == 2
    text = (faces / "out/differences.txt").read_text().splitlines()
    kinds = sorted(line.split(":")[0] for line in text)
    assert kinds == ["extra", "missing", "size", "unreadable"]
    assert not (faces / "out/summary.json").exists()
    assert main([*given, "allow=missing,extra,size,unreadable"]) == 0
    rows, summary = read(faces / "out")
    assert len(rows) == COUNT - 4 and len(summary["left_out"]["unreadable"]) == 2
    assert "Left out, unreadable: 2" in (faces / "out/summary.md").read_text()


def test_statistics_that_were_saved_are_compared_with(faces, capsys) -> None:
    only = ["suite=real_world", "metrics=fid", *TINY]
    first = [f"restored={faces / 'ffhq'}", f"fid_reference={faces / 'hq'}"]
    assert main([*first, *only, f"output_dir={faces / 'a'}", "save_statistics=true"]) == 0
    second = [f"restored={faces / 'hq'}", f"fid_reference={faces / 'a/statistics.safetensors'}"]
    assert main([*second, *only, f"output_dir={faces / 'b'}"]) == 0
    one, other = (read(faces / name)[1]["values"]["fid"] for name in "ab")
    assert one == pytest.approx(other, rel=1e-6) and one > 0
    small = [f"restored={faces / 'hq'}", f"fid_reference={faces / 'other.npz'}"]
    np.savez(faces / "other.npz", mu=np.zeros(3), sigma=np.eye(3))
    capsys.readouterr()
    assert main([*small, *only, f"output_dir={faces / 'c'}"]) == 2
    assert "cannot be compared" in capsys.readouterr().err


def test_a_forgotten_suffix_is_guessed(faces, capsys) -> None:
    assert main(words(faces, "out", "suffix=null", "metrics=psnr")) == 2
    assert "Should it be suffix=_00?" in capsys.readouterr().err
    (faces / "restored/stranger.png").write_bytes((faces / "hq/p0.png").read_bytes())
    assert main(words(faces, "out", "suffix=null", "metrics=psnr")) == 2
    assert "Should it be" not in capsys.readouterr().err


def test_another_real_network_is_no_stand_in_and_yet_not_comparable(tmp_path) -> None:
    deg = Specification("angle", "mobilefacenet", comparable=False)
    found = Evaluation(
        "celeba_test", "a", "b", 1, {"psnr": 1.0, "deg": 2.0}, {"x": {"psnr": 1.0, "deg": 2.0}},
        {"psnr": Specification("PSNR"), "deg": deg},
    )  # fmt: skip
    found.write(tmp_path)
    rows, summary = read(tmp_path)
    assert (rows[0]["stand_ins"], rows[0]["not_comparable"]) == ("", "deg")
    assert (summary["stand_ins"], summary["not_comparable"]) == ([], ["deg"])
    title = (tmp_path / "summary.md").read_text().splitlines()[0]
    assert "deg: not by the published network" in title and "stand-in" not in title


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("metrics=musiq", "download=musiq_koniq_ckpt"),
        ("perceptual=vgg16", "download=vgg16-397923af.pth"),
        ("fid_reference=null", "cannot be held against FFHQ"),
        ("fid_reference=nowhere", "is no folder"),
        ("reference=null", "need reference=DIR"),
        ("metrics=psnrr", "no metric 'psnrr'"),
        ("allow=missng", "did you mean missing"),
        ("batch=0", "at least 1"),
        ("device=cupa", "no device"),
        ("restored=nowhere", "is no folder"),
    ],
)
def test_mistakes_are_told_at_the_start(faces, change, told, monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.delenv("OSDFACE_WEIGHTS", raising=False)
    assert main(words(faces, "out", change)) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
    assert not (faces / "out/summary.json").exists()
