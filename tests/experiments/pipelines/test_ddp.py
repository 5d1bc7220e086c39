"""Two real processes over gloo, started by the command itself."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from osdface.files import read_json
from osdface.run_folder import offline_folders
from tests.experiments.pipelines.conftest import fast_words

ROOT = Path(__file__).resolve().parents[3]


def test_one_variant_fails_the_other_is_kept(tmp_path) -> None:
    """The cache is empty: stage 1 is trained by both processes too."""
    # Missing files are told before anything starts; this one is there and turns out to be broken.
    broken = tmp_path / "broken_network.safetensors"
    broken.write_bytes(b"not tensors")
    words = fast_words(
        cache_dir=tmp_path / "cache",
        output_dir=tmp_path / "out",
        trainer="ddp_sim",
        variants="mse,full",
        # Only "full" has the identity loss, so only it reads this file.
        **{"scale.stage2.identity_loss": broken},
    )
    command = [sys.executable, "-m", "experiments.run", "experiment=ablation_losses", *words]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert run.returncode == 1, run.stdout + run.stderr
    assert run.stdout.strip().splitlines()[-1] == str(tmp_path / "out")
    status = {v: read_json(tmp_path / "out" / v / "status.json") for v in ("mse", "full")}
    assert status["mse"]["status"] == "finished"
    assert status["full"]["status"] == "failed"
    assert "broken_network" in status["full"]["reason"]
    table = (tmp_path / "out" / "ablation.csv").read_text()
    assert "mse,finished" in table and "full,failed" in table
    assert logged_steps(tmp_path / "out" / "mse") == [1, 2]


def logged_steps(run_dir: Path) -> list[int]:
    """The generator steps of which ``metrics.csv`` has a loss."""
    with open(run_dir / "metrics.csv", newline="", encoding="utf-8") as file:
        return [int(row["step"]) for row in csv.DictReader(file) if row["loss/total"]]


@pytest.mark.slow  # two processes compile
def test_a_compiled_unet_in_two_processes_that_log_one_run(tmp_path) -> None:
    changes = {
        "vre.checkpoint": ROOT / "osdface/assets/tiny/vre",
        "scale.stage2.efficiency.compile": "[unet]",
        "cache_dir": tmp_path / "cache",
        "output_dir": tmp_path / "out",
    }
    words = fast_words(trainer="ddp_sim", logger="wandb", **changes)
    command = [sys.executable, "-m", "experiments.run", "experiment=osdface", *words]
    environment = os.environ | {"WANDB_MODE": "offline"}
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=1200, env=environment
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert len(offline_folders(tmp_path / "out", nested=True)) == 1
    assert len(list((tmp_path / "out").rglob("wandb_id.txt"))) == 1
    assert logged_steps(tmp_path / "out") == [1, 2]
    assert read_json(tmp_path / "out" / "status.json")["status"] == "finished"
