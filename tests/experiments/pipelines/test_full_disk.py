"""The disk is full while a run writes: one sentence, nothing lost, and the same command goes on."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from callbacks import find_last
from callbacks.checkpoint_files import fault
from tests.experiments.pipelines.conftest import fast_words

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 96 MB; mounting one needs root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96m", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path, free: int) -> Path:
    """Leaves ``free`` bytes of a disk."""
    filler = disk / "filler"
    filler.write_bytes(bytes(max(0, shutil.disk_usage(disk).free - free)))
    return filler


def check(disk: Path, cache_dir: Path, free: int, *more: str) -> None:
    """Runs the command on a disk with ``free`` bytes, and again when there is room."""
    run = disk / "run"
    words = fast_words(**{
        "scale.stage2.steps": 4, "scale.stage2.val_every": 2, "cache_dir": cache_dir,
        "output_dir": run, "logger": "wandb", "logger.mode": "offline",
        "vre.checkpoint": "osdface/assets/tiny/vre",
    })  # fmt: skip
    command = [sys.executable, "-m", "experiments.run", "experiment=osdface", *words, *more]
    filler = fill(disk, free)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    told = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    print(free, done.returncode, told)
    assert done.returncode == 2 and len(told) == 1, done.stderr
    assert "No space left on device" in told[0] and "give the same command" in told[0]
    assert "Traceback" not in done.stderr
    held = (run / "checkpoints").glob("*")
    assert not [p for p in held if p.suffix == ".ckpt" and (p.name.startswith(".") or fault(p))]

    filler.unlink()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert torch.load(find_last(run), weights_only=True)["generator_step"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("free", [0, 60_000, 150_000, 1_000_000, 24_000_000])
def test_the_command_says_one_sentence_and_goes_on_later(small_disk, cache_dir, free) -> None:
    """Full at the start, before the training, in its logs and at a checkpoint, with W&B."""
    check(small_disk, cache_dir, free)


@pytest.mark.slow
def test_all_processes_end_alike(small_disk, cache_dir) -> None:
    """The first one writes, and the others wait for it when it cannot."""
    check(small_disk, cache_dir, 24_000_000, "trainer=ddp_sim")
