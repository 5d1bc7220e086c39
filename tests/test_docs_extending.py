"""What docs/adding-a-*.md tell a user to do works: done to a copy, which then trains."""

import csv
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from osdface.errors import UserError
from osdface.losses import build_loss
from osdface.metrics import RestorationMetrics, build_metric
from tests.experiments.pipelines.conftest import FAST

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ["osdface", "lightning_modules", "datamodules", "callbacks", "experiments"]
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
_COMMAND = "python -m experiments.run "
_DRIVER = """
import json, sys
from experiments.run import main
for words in json.loads(sys.argv[1]):
    if status := main(words):
        sys.exit(status)
"""


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text("utf-8")
    return [block for name, block in _FENCE.findall(text) if name == language]


def documented_words() -> list[list[str]]:
    shown = blocks("adding-a-loss.md", "text") + blocks("adding-a-metric.md", "bash")
    lines = [line for block in shown for line in block.splitlines()]
    assert lines and all(line.startswith(_COMMAND) for line in lines)
    return [line.removeprefix(_COMMAND).split() for line in lines]


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """A copy of the packages to which the pages' blocks were applied."""
    folder = tmp_path_factory.mktemp("copy")
    ignored = shutil.ignore_patterns("__pycache__", "assets")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    (folder / "osdface/assets").symlink_to(ROOT / "osdface/assets")
    for page in ("adding-a-loss.md", "adding-a-metric.md"):
        (code,) = blocks(page, "python")
        assert len(code.splitlines()) <= 30
        place = folder / code.splitlines()[0].removeprefix("# ")
        assert not place.exists()
        place.write_text(code, "utf-8")
    (block,) = blocks("adding-a-loss.md", "yaml")
    head, line = block.splitlines()
    config = folder / head.removeprefix("# ")
    text = config.read_text("utf-8")
    assert text.count("\nlosses:\n") == 1
    config.write_text(text.replace("\nlosses:\n", f"\nlosses:\n{line}\n"), "utf-8")
    return folder


@pytest.fixture(scope="module")
def method_copy(copy) -> Path:
    """The copy with the method of its page too."""
    block = blocks("adding-a-method.md", "yaml")[0]
    head, _, text = block.partition("\n")
    place = copy / head.removeprefix("# ")
    assert place.parent.is_dir() and not place.exists()
    place.write_text(text, "utf-8")
    return copy


def test_the_new_method_is_trained_counted_and_compared(method_copy, tmp_path):
    (block,) = [each for each in blocks("adding-a-method.md", "text") if "method=light" in each]
    own, count, compare = (shlex.split(line)[3:] for line in block.splitlines())
    fast = FAST | {"cache_dir": tmp_path / "cache", "output_dir": tmp_path / "run"}
    words = [f"{key}={value}" for key, value in fast.items()]
    in_copy(method_copy, [[*compare, "--config"], [*own, *words]])
    facts = json.loads((tmp_path / "run/export/config.json").read_text())
    assert facts["timestep"] == 199 and facts["lora"]["rank"] == facts["lora_vae"]["rank"] == 4
    with open(tmp_path / "run/metrics.csv", newline="") as file:
        first = next(csv.DictReader(file))
    assert "loss/lpips/raw" in first and "loss/gan/raw" not in first
    assert count == ["method=light"] and "variants=osdface,osediff,light" in compare


def in_copy(folder: Path, calls: list[list[str]]) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", _DRIVER, json.dumps(calls)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_new_loss_and_the_new_metric_take_part_in_a_training(copy, tmp_path):
    fast = FAST | {"vre.checkpoint": "shipped:vre", "cache_dir": tmp_path / "cache"}
    words = [f"{key}={value}" for key, value in (fast | {"output_dir": tmp_path / "run"}).items()]
    own = ["experiment=osdface", "variant=mse+charbonnier", "losses.mse=0", "metrics=edge_error"]
    documented = documented_words()
    in_copy(copy, [*([*each, "--config"] for each in documented), [*own, *words]])
    with open(tmp_path / "run/metrics.csv", newline="") as file:
        first = next(csv.DictReader(file))
    raw = float(first["loss/charbonnier/raw"])
    assert 0 < raw < 1 and float(first["loss/charbonnier/weighted"]) == pytest.approx(raw)
    assert float(first["loss/total"]) == pytest.approx(raw)
    assert 0 < json.loads((tmp_path / "run/metrics.json").read_text())["edge_error"] < 1
    references = json.loads((tmp_path / "run/references/metrics.json").read_text())
    assert all(0 < row["edge_error"] < 1 for row in references.values())
    page = (tmp_path / "run/report.html").read_text("utf-8")
    assert "loss/charbonnier/raw" in page and "edge_error" in page and "Sobel edges" in page


def test_the_snippets_compute_what_they_say():
    names: dict = {}
    for page in ("adding-a-loss.md", "adding-a-metric.md"):
        (code,) = blocks(page, "python")
        exec(compile(code, page, "exec"), names)
    x, y = torch.rand(2, 2, 3, 5, 5, generator=torch.Generator().manual_seed(0)).double() * 2 - 1
    pairs = zip(x.flatten().tolist(), y.flatten().tolist(), strict=True)
    wanted = [math.sqrt((a - b) ** 2 + 1e-6) - 1e-3 for a, b in pairs]
    assert float(names["Charbonnier"]()(x, y)) == pytest.approx(sum(wanted) / len(wanted), rel=1e-9)
    metric = names["EdgeError"]()
    metric.update(x, y)
    assert metric.compute()["edge_error"] == pytest.approx(edge_error(x, y), rel=1e-5)


def edge_error(x: torch.Tensor, y: torch.Tensor) -> float:
    """Loops over every pixel of every image."""
    kernel = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]

    def edges(image: list) -> list[float]:
        gray = [
            [(image[0][r][c] + image[1][r][c] + image[2][r][c]) / 3 for c in range(5)]
            for r in range(5)
        ]
        found = []
        for r in range(5):
            for c in range(5):
                across = down = 0.0
                for i in range(3):
                    for j in range(3):
                        inside = 0 <= r + i - 1 < 5 and 0 <= c + j - 1 < 5
                        value = gray[r + i - 1][c + j - 1] if inside else 0.0
                        across += kernel[i][j] * value
                        down += kernel[j][i] * value
                found.append(math.sqrt(across**2 + down**2 + 1e-6))
        return found

    errors = []
    for one, other in zip(((x + 1) / 2).tolist(), ((y + 1) / 2).tolist(), strict=True):
        pairs = list(zip(edges(one), edges(other), strict=True))
        errors.append(sum(abs(a - b) for a, b in pairs) / len(pairs))
    return sum(errors) / len(errors)


def test_what_is_not_there_is_told():
    with pytest.raises(UserError, match="Unknown loss 'edges'"):
        build_loss("edges")  # a file, without a loss of that name
    with pytest.raises(UserError, match=r"no metric 'pixl'.*pixel\.py"):
        build_metric("pixl")
    with pytest.raises(UserError, match=r"no metric '\.\./pixel'"):
        build_metric("../pixel")
    twice = type("Twice", (RestorationMetrics,), {})(None, None)
    with pytest.raises(UserError, match="Two metrics have a figure"):
        RestorationMetrics(None, None, [twice])
