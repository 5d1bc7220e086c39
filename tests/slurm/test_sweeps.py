"""Sweeps on a real Slurm: trials of a grid in an array, and an agent a job whose trial spans nodes.

W&B's server and agent are stand-ins; what they start is real.
"""

import csv
import json
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from callbacks import find_last
from tests.experiments.pipelines.conftest import fast_words
from tests.slurm.test_launching import ROOT, jobs_of, slurm, wait

__all__ = ["slurm"]
pytestmark = [pytest.mark.slurm, pytest.mark.slow]
FAKE_WANDB = ROOT / "tests" / "experiments" / "sweeping" / "fake_wandb.py"
VRE = f"vre.checkpoint={ROOT / 'osdface/assets/tiny/vre'}"


def sweep(slurm, *words: str, **more: str) -> list[str]:
    """Runs ``experiments.sweep`` as a user would; returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "experiments.sweep", "launcher=slurm", *words],
        cwd=ROOT, env={**slurm.environment, **more}, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def trials(folder: Path) -> list[dict[str, str]]:
    with open(folder / "trials.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def logs(folder: Path) -> str:
    return "\n".join(log.read_text() for log in sorted((folder / "slurm").iterdir()))


def test_a_grid_ends_with_its_tables_and_is_not_begun_again(slurm, tmp_path) -> None:
    path, folder = tmp_path / "mine.yaml", tmp_path / "it's 100%"
    path.write_text(
        "method: grid\nmetric: {name: val/perceptual}\n"
        "parameters: {experiment: {value: osdface}, scale.stage2.lora_rank: {values: [2, 4]}}\n"
    )
    words = [f"sweep={path}", f"output_dir={folder}", *fast_words(cache_dir=tmp_path / "cache")]
    told = sweep(slurm, *words)
    assert told[-1] == str(folder)
    jobs = jobs_of(folder)
    assert list(jobs) == ["stage1", "trials", "gather"]
    again = sweep(slurm, *words)
    assert any(line.startswith("already queued") for line in again)
    assert jobs_of(folder) == jobs  # nothing twice
    wait(slurm, jobs["gather"], 400)
    assert slurm.wait(int(jobs["gather"]), 10) == "COMPLETED", logs(folder)
    rows = trials(folder)
    assert [row["status"] for row in rows] == ["finished", "finished"], logs(folder)
    assert {row["scale.stage2.lora_rank"] for row in rows} == {"2", "4"}
    assert all(float(row["psnr"]) > 5 for row in rows)
    assert "Best so far" in (folder / "summary.md").read_text()
    assert "nothing to do" in "\n".join(sweep(slurm, *words))


def test_an_agent_outside_srun_starts_a_trial_on_two_nodes(slurm, tmp_path) -> None:
    """Its job is requeued once: the same run of the server goes on, no second one is drawn."""
    path, folder, server = tmp_path / "mine.yaml", tmp_path / "out", tmp_path / "server"
    server.mkdir()
    path.write_text(
        "method: bayes\nmetric: {name: val/perceptual, goal: minimize}\nparameters:\n"
        "  experiment: {value: osdface}\n  losses.weights.gan: {min: 0.01, max: 1.0}\n"
    )
    # Stands before `python -m wandb ...` alone.
    node = tmp_path / "node"
    node.write_text(
        f'#!/bin/sh\n[ "$3" = wandb ] || exec "$@"\nshift; shift; shift\n'
        f'exec {sys.executable} {FAKE_WANDB} "$@"\n'
    )
    node.chmod(stat.S_IRWXU)
    wandb = tmp_path / "programs" / "wandb"
    wandb.parent.mkdir()
    wandb.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE_WANDB} "$@"\n')
    wandb.chmod(stat.S_IRWXU)
    account = {
        "PATH": f"{wandb.parent}:{Path(sys.executable).parent}:{slurm.environment['PATH']}",
        "FAKE_WANDB": str(server),
        "WANDB_API_KEY": "0" * 40,
        "WANDB_MODE": "online",  # of the asking alone: the trial logs to a file
    }
    changes = {"scale.stage2.steps": 40, "scale.stage2.val_every": 40}
    fast = fast_words(cache_dir=tmp_path / "cache", **changes)
    words = [f"sweep={path}", f"output_dir={folder}", "count=1", f"slurm.prefix={node}", VRE]
    told = sweep(slurm, *words, "slurm.nodes=2", *fast, **account)
    assert told[0].endswith("(1 agents of me/osdface/abcd1234 in an array)"), told
    jobs = jobs_of(folder)
    trial = folder / "trial-run1"
    end = time.monotonic() + 200
    while not find_last(trial):
        assert time.monotonic() < end, logs(folder)
        time.sleep(0.1)
    assert slurm.run("scontrol", "requeue", f"{jobs['trials']}_1").returncode == 0
    wait(slurm, jobs["gather"], 400)
    assert slurm.wait(int(jobs["gather"]), 10) == "COMPLETED", logs(folder)
    assert json.loads((server / "runs.json").read_text()) == ["run1"], logs(folder)
    (row,) = trials(folder)
    assert (row["status"], row["steps"]) == ("finished", "40"), logs(folder)
    assert float(row["losses.weights.gan"]) == 0.1
    state = torch.load(find_last(trial), weights_only=True)
    assert state["config"]["trainer"]["num_nodes"] == 2
    assert logs(folder).count("Going on in") == 1
