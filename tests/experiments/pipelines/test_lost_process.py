"""A process of a distributed run dies or hangs: the others end, and the same command goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from callbacks import find_last
from tests.experiments.pipelines.conftest import fast_words
from tests.experiments.pipelines.test_resume import steps_logged

ROOT = Path(__file__).resolve().parents[3]
# The processes of a run come up one after the other, which takes its time on a busy machine.
TIMEOUT_S = 40


def alive(number: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{number}/stat").read_text()
    except OSError:
        return False


def family(number: int) -> list[int]:
    """Returns the processes below a process, all generations."""
    found = []
    for task in Path(f"/proc/{number}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *family(child)]
    return found


def second_rank(number: int) -> int:
    """Returns the process that Lightning started for rank 1."""
    for child in family(number):
        words = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        line = Path(f"/proc/{child}/cmdline").read_bytes()
        if b"LOCAL_RANK=1" in words and b"experiments.run" in line:
            return child
    raise AssertionError("there is no second process")


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(find_last(run_dir), weights_only=True)["state_dict"]


@pytest.mark.slow
def test_killed_and_stopped_processes_end_the_run_and_it_goes_on(tmp_path, cache_dir) -> None:
    """Both ranks, killed and stopped in turn, on the real command; the weights end bit for bit."""

    def command(output_dir: Path) -> list[str]:
        changes = {"scale.stage2.steps": 16, "scale.stage2.val_every": 16, "cache_dir": cache_dir,
                   "output_dir": output_dir, "trainer.timeout_seconds": TIMEOUT_S}  # fmt: skip
        words = fast_words(**changes)
        return [sys.executable, "-m", "experiments.run", "experiment=osdface", "trainer=ddp_sim",
                "vre.checkpoint=osdface/assets/tiny/vre", *words]  # fmt: skip

    def run(output_dir: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command(output_dir), cwd=ROOT, capture_output=True, text=True)

    whole, hit = tmp_path / "whole", tmp_path / "hit"
    done = run(whole)
    assert done.returncode == 0, done.stderr

    cases = [  # rank, signal, exit status, what is said, seconds at most
        (1, signal.SIGKILL, 1, "Process 1 of this run ended by SIGKILL", 40),
        (1, signal.SIGSTOP, 1, "Process 1 of this run is stopped, and was waited for 40 s",
         TIMEOUT_S + 40),
        (0, signal.SIGKILL, -9, "The first process of this run", 10),
        (0, signal.SIGSTOP, -9, "is stopped, was waited for 40 s", TIMEOUT_S + 20),
    ]  # fmt: skip
    for number, (rank, kill, status, told, seconds) in enumerate(cases, 1):
        errors = tmp_path / f"stderr{number}"
        with open(errors, "w") as file:
            process = subprocess.Popen(
                command(hit), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=file
            )
        wanted = 3 * number
        while process.poll() is None and steps_logged(hit) < wanted:
            time.sleep(0.01)
        own = family(process.pid)
        begin = time.monotonic()
        os.kill(second_rank(process.pid) if rank else process.pid, kill)
        try:
            assert process.wait(seconds) == status, errors.read_text()
            while any(map(alive, own)) and time.monotonic() < begin + seconds:
                time.sleep(0.1)
        except BaseException:
            process.kill()
            for each in filter(alive, own):
                os.kill(each, signal.SIGKILL)
            raise
        print(f"case {number}: ended after {time.monotonic() - begin:.1f} s")
        assert not [each for each in own if alive(each)]
        said = [line for line in errors.read_text().splitlines() if line.startswith("error:")]
        assert len(said) == 1 and told in said[0] and "the same command goes on" in said[0], said
        assert "Traceback" not in errors.read_text(), errors.read_text()
        # A step is logged a moment before it is saved.
        saved = torch.load(find_last(hit), weights_only=True)["generator_step"]
        assert wanted - 1 <= saved < 16

    done = run(hit)
    assert done.returncode == 0, done.stderr
    ends = weights(whole), weights(hit)
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
