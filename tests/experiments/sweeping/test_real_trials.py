"""A real sweep: two trainings at the tiny scale, killed in the middle, gone on with, compared."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.compare import main as compare
from tests.experiments.pipelines.conftest import fast_words

ROOT = Path(__file__).resolve().parents[3]
STEPS = 60  # some seconds of training after the first checkpoint, in which the command is ended


def sweep(*words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "experiments.sweep", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def until(path: Path, seconds: float = 400.0) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_real_grid_goes_on_after_a_kill(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(
        "method: grid\nmetric: {name: val/perceptual}\n"
        "parameters: {experiment: {value: osdface}, scale.stage2.lora_rank: {values: [2, 4]}}\n"
    )
    words = ["sweep=mine.yaml", "output_dir=o", f"cache_dir={tmp_path / 'cache'}"]
    words += [each for each in fast_words() if not each.startswith("scale.stage2.steps")]
    with sweep(*words, f"scale.stage2.steps={STEPS}") as process:
        until(Path("o/trial-0001/checkpoints/last.ckpt"))
        trial = next(Path("o/trial-0001").glob("status.json"))
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
    before = json.loads(trial.read_text())
    assert before["status"] == "running" and 0 < before["step"] < STEPS
    assert not Path("o/trial-0002").exists()
    with sweep(*words, f"scale.stage2.steps={STEPS}") as process:
        said = process.communicate()[0]
        assert process.returncode == 0, said
    assert "Going on in" in Path("o/logs/trial-0001.log").read_text()
    with open("o/trials.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["finished", "finished"]
    assert all(float(row["psnr"]) > 10 and row["steps"] == str(STEPS) for row in rows)
    assert "Best so far" in Path("o/summary.md").read_text()
    assert compare(["runs=o", "output_dir=c"]) == 0
    text = Path("c/compare.md").read_text()
    assert "lora_rank=2" in text and "lora_rank=4" in text and "not measured alike" not in text
    assert Path("c/faces.png").is_file() and "Stand-in networks measured" in text
