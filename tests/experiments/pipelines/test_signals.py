"""Signals to the command itself: at the end of the step it saves, and the same command goes on."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from callbacks import find_last
from lightning_modules.dictionary import VQDictionaryModule
from lightning_modules.distillation import OneStepDistillationModule
from osdface.files import read_json
from osdface.run_folder import read_status
from tests.experiments.pipelines.conftest import fast_words

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def signalled(monkeypatch):
    """Sends this process a signal once a module's method is called at a generator step."""

    def at(module, method, step, number):
        real, sent = getattr(module, method), []

        def replaced(self, batch, batch_idx):
            if self.generator_step == step and not sent:
                sent.append(os.kill(os.getpid(), number))
            return real(self, batch, batch_idx)

        monkeypatch.setattr(module, method, replaced)

    return at


def trained(run_dir):
    """All that a checkpoint holds of a training, as name -> tensor."""
    state = torch.load(find_last(run_dir), weights_only=True)
    moments = {
        f"{number}/{key}/{name}": torch.as_tensor(value)
        for number, optimizer in enumerate(state["optimizer_states"])
        for key, values in optimizer["state"].items()
        for name, value in values.items()
    }
    averages = state["callbacks"]["EMA"]["shadow"]
    counters = {"step": state["generator_step"], **state["FaceDataModule"]["sampler"]}
    return {
        **state["state_dict"],
        **moments,
        **{f"average/{name}": value for name, value in averages.items()},
        **{name: torch.as_tensor(value) for name, value in counters.items()},
        "random": state["random_state"],
    }


def assert_same_run(one, other):
    found, wanted = trained(one), trained(other)
    assert found.keys() == wanted.keys()
    assert [name for name in found if not torch.equal(found[name], wanted[name])] == []
    files = ("checkpoints/best.json", "metrics.json")
    assert [read_json(one / name) for name in files] == [read_json(other / name) for name in files]
    assert rows(one) == rows(other)


def rows(run_dir):
    """The log without what measures time."""
    with open(run_dir / "metrics.csv", newline="") as file:
        found = list(csv.DictReader(file))
    return [
        {k: v for k, v in row.items() if "second" not in k and "wait" not in k} for row in found
    ]


def test_three_signals_and_the_run_equals_one_without(run_fast, tmp_path, signalled, capsys):
    """In a step's first micro-batch, in a validation, and in the last step."""
    changes = {
        "scale.stage2.steps": 3, "scale.stage2.val_every": 2, "scale.stage2.accumulate": 2,
        "scale.stage2.checkpoint_every": 100, "scale.stage2.ema_decay": 0.5,
        "scale.stage2.val_batch_size": 2, "data.num_workers": 1,
        "vre.checkpoint": "shipped:vre",
    }  # fmt: skip
    assert run_fast("osdface", tmp_path / "whole", **changes) == 0
    cut, module = tmp_path / "cut", OneStepDistillationModule
    for method, step, number, saved in (
        ("training_step", 0, signal.SIGUSR1, 1),
        ("validation_step", 2, signal.SIGTERM, 2),
        ("training_step", 2, signal.SIGUSR2, 3),
    ):
        signalled(module, method, step, number)
        assert run_fast("osdface", cut, **changes) == 128 + number
        said = capsys.readouterr()
        assert f"A signal came: saved at step {saved}." in said.out
        assert f"Interrupted by {number.name}; the same command goes on." in said.err
        assert "Traceback" not in said.err
        status = read_status(cut)
        assert (status["status"], status["step"]) == ("running", saved)
        assert status["reason"] == f"interrupted ({number.name})"
    assert run_fast("osdface", cut, **changes) == 0
    assert_same_run(cut, tmp_path / "whole")


@pytest.mark.slow
def test_in_stage_1_the_dictionary_goes_on(run_fast, tmp_path, signalled):
    """Its own cache: stage 1 is trained, interrupted in its second part, and gone on with."""
    signalled(VQDictionaryModule, "training_step", 1, signal.SIGUSR1)
    changes = {"cache_dir": tmp_path / "cache", "scale.stage1.checkpoint_every": 100}
    assert run_fast("osdface", tmp_path / "run", **changes) == 138
    (stage1,) = (tmp_path / "cache").glob("stage1-*")
    saved = torch.load(find_last(stage1 / "hq_dictionary"), weights_only=True)
    assert saved["generator_step"] == 2 and not (stage1 / "lq_dictionary").exists()
    assert run_fast("osdface", tmp_path / "run", **changes) == 0


def processes(tmp_path, out, cache_dir, **changes):
    own = {"vre.checkpoint": "shipped:vre", "scale.stage2.steps": 12, "scale.stage2.val_every": 5,
           "scale.stage2.checkpoint_every": 100, "scale.stage2.ema_decay": 0.5,
           "data.num_workers": 1, "trainer": "ddp_sim", "cache_dir": cache_dir}  # fmt: skip
    words = fast_words(**{**own, "output_dir": out, **changes})
    command = [sys.executable, "-m", "experiments.run", "experiment=osdface", *words]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, start_new_session=True)  # fmt: skip


def wait_for_step(run_dir, step):
    end = time.monotonic() + 180
    while time.monotonic() < end:
        path = run_dir / "metrics.csv"
        if path.exists() and f"\n{step}," in path.read_text():
            return
        time.sleep(0.02)
    raise AssertionError(f"no step {step}")


def child_of(number):
    """The process of the second rank, which Lightning starts with its rank in the environment."""
    children = Path(f"/proc/{number}/task/{number}/children").read_text().split()
    environments = {int(child): Path(f"/proc/{child}/environ").read_bytes() for child in children}
    (child,) = [child for child, text in environments.items() if b"\0LOCAL_RANK=1\0" in text]
    return child


@pytest.mark.slow
def test_two_ranks_agree_whichever_of_them_gets_the_signal(tmp_path, cache_dir):
    """Started by the command itself: to the first alone, to the second alone, to the group."""
    whole = processes(tmp_path, tmp_path / "whole", cache_dir)
    assert whole.wait(240) == 0, whole.communicate()
    cut = tmp_path / "cut"
    for step, number, send in (
        (2, signal.SIGUSR1, lambda process: os.kill(process.pid, signal.SIGUSR1)),
        (5, signal.SIGUSR2, lambda process: os.kill(child_of(process.pid), signal.SIGUSR2)),
        (8, signal.SIGTERM, lambda process: os.killpg(process.pid, signal.SIGTERM)),
    ):
        process = processes(tmp_path, cut, cache_dir)
        wait_for_step(cut, step)
        send(process)
        out, error = process.communicate(timeout=120)
        assert process.returncode == 128 + number, error
        assert out.count("A signal came: saved at step") == 1 and "Traceback" not in error
    last = processes(tmp_path, cut, cache_dir)
    assert last.wait(240) == 0, last.communicate()
    assert_same_run(cut, tmp_path / "whole")
