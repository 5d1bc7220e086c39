"""A training in a process of its own, ended by signals again and again, misses nothing."""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import cv2
import pytest
import torch
from lightning import Trainer
from lightning.pytorch.strategies import SingleDeviceStrategy

from callbacks import EMA, Preemption, StepCheckpoint, find_last
from datamodules.faces import FaceDataModule
from datamodules.portraits import render_portrait
from datamodules.shards import write_shards
from experiments.cli.signals import SignalWatch
from lightning_modules.stepped import SteppedModule, StepSettings, adam

STEPS, VAL_EVERY = 40, 6


class Adversaries(SteppedModule):
    """Two networks and optimizers, two micro-batches a step, and the global random state."""

    def __init__(self, log: Path, max_seconds: float) -> None:
        super().__init__(
            StepSettings(
                STEPS, 0.01, warmup_steps=5, schedule="cosine", accumulate=2,
                max_seconds=max_seconds,
            )
        )  # fmt: skip
        torch.manual_seed(0)
        self.generator, self.discriminator = torch.nn.Conv2d(3, 3, 1), torch.nn.Conv2d(3, 1, 1)
        self.log_file = log

    def configure_optimizers(self):
        return [adam(part.parameters(), 0.01) for part in (self.generator, self.discriminator)]

    def training_step(self, batch, _):
        noise = torch.rand_like(batch["lq"])
        names = ("generator", "discriminator")
        for optimizer, name in zip(self.optimizers(), names, strict=True):
            self.toggle_optimizer(optimizer)
            output = self.discriminator(self.generator(batch["lq"] + 0.1 * noise))
            loss = (output - batch["hq"].mean(1, keepdim=True)).square().mean()
            self.update(optimizer, loss, name)
            self.untoggle_optimizer(optimizer)
        with open(self.log_file, "a") as file:
            file.write(f"{self.generator_step}\n")
        time.sleep(0.005)
        self.finish_micro_batch()

    def validation_step(self, batch, _):
        time.sleep(0.01)
        with open(self.log_file, "a") as file:
            file.write("validating\n")

    def on_validation_epoch_end(self):
        # Gets better and worse: a best one that is missed shows.
        self.validation_metrics = {"score": float(abs(self.generator_step - 20))}


def train(root, run_dir, max_seconds=0.0):
    """One process of the training: from its last checkpoint, if there is one, to the end."""
    os.setsid()  # its own group: a signal to it reaches the loader's workers, as Slurm's do
    run_dir.mkdir(exist_ok=True)
    watch = SignalWatch()
    data = FaceDataModule(
        "shards", urls=f"{root}/*.tar", resolution=16, batch_size=2, val_batch_size=1, val_count=4,
        identity_from="none", num_workers=2, seed=3,
        degradation={"preset": "waveface", "strength_scale": 0.1},
    )  # fmt: skip
    checkpoint = StepCheckpoint(run_dir, 10**6, metric="score")
    trainer = Trainer(
        accelerator="cpu", strategy=SingleDeviceStrategy(torch.device("cpu")), max_epochs=-1,
        logger=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, use_distributed_sampler=False, default_root_dir=run_dir,
        val_check_interval=VAL_EVERY * 2, check_val_every_n_epoch=None,
        callbacks=[EMA(0.5), Preemption(watch, checkpoint, VAL_EVERY), checkpoint],
    )  # fmt: skip
    with watch.installed(), watch.deferred():
        trainer.fit(Adversaries(run_dir / "log", max_seconds), data, ckpt_path=find_last(run_dir))


def lines(run_dir):
    path = run_dir / "log"
    return path.read_text().splitlines() if path.exists() else []


def start(*arguments):
    process = multiprocessing.get_context("fork").Process(target=train, args=arguments)
    process.start()
    return process


def differences(one, other, where=""):
    """Names what differs in two checkpoints, tensors bit for bit."""
    if isinstance(one, dict):
        keys = one.keys() | other.keys()
        return [d for k in keys for d in differences(one.get(k), other.get(k), f"{where}/{k}")]
    if isinstance(one, list):
        pairs = enumerate(zip(one, other, strict=True))
        return [d for n, pair in pairs for d in differences(*pair, f"{where}/{n}")]
    same = torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    return [] if same else [where]


def states(run_dir):
    state = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    state.pop("loops")  # Lightning's counters, of which some count attempts
    state.pop("training_seconds")  # of the clock
    best = torch.load(run_dir / "checkpoints" / "best.ckpt", weights_only=True)
    return {"last": state, "best": best["state_dict"]}


@pytest.fixture
def shards(tmp_path):
    images = (render_portrait(3, n, 0, 16).image for n in range(15))
    samples = [(f"p{n}", cv2.imencode(".png", i)[1].tobytes(), {}) for n, i in enumerate(images)]
    write_shards(samples, tmp_path / "shards", "train", 6)
    return tmp_path / "shards"


def test_ended_by_signals_at_any_moment_it_ends_in_the_same_state(tmp_path, shards):
    whole = start(shards, tmp_path / "whole")
    whole.join(120)
    assert whole.exitcode == 0
    expected = lines(tmp_path / "whole")
    assert expected.count("validating") == 4 * 7  # at 6, 12, ... 36 and at the end

    rng, run_dir, saved = random.Random(5), tmp_path / "cut", []
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
        process, before = start(shards, run_dir), len(lines(run_dir))
        wanted, end = before + rng.randrange(8, 25), time.monotonic() + 120
        while len(lines(run_dir)) < wanted and time.monotonic() < end:
            time.sleep(0.001)
        for _ in range(20):
            os.killpg(process.pid, number)
            time.sleep(0.0005)
        process.join(120)
        assert process.exitcode == 128 + number
        saved.append(int(torch.load(find_last(run_dir), weights_only=True)["generator_step"]))
    last = start(shards, run_dir)
    last.join(120)
    assert last.exitcode == 0
    assert 0 < saved[0] < saved[1] < saved[2] < STEPS
    # Every micro-batch was trained on once, in order: no step was lost or repeated.
    steps = [line for line in lines(run_dir) if line != "validating"]
    assert steps == [line for line in expected if line != "validating"]
    assert not differences(states(tmp_path / "whole"), states(run_dir))


def at_first_batch(run_dir, number, validating):
    """A process that gets its signal in a validation, or in the last step's second micro-batch."""

    def training_step(self, batch, index, real=Adversaries.training_step):
        if not validating and self.generator_step == STEPS - 1 and self.completes_step:
            os.kill(os.getpid(), number)
        real(self, batch, index)

    def validation_step(self, batch, index, real=Adversaries.validation_step):
        if validating and index == 1:
            os.kill(os.getpid(), number)
        real(self, batch, index)

    Adversaries.training_step, Adversaries.validation_step = training_step, validation_step


@pytest.mark.parametrize("validating", [True, False])
def test_an_interrupted_validation_is_run_again(tmp_path, shards, monkeypatch, validating):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    start(shards, whole).join(120)
    with monkeypatch.context() as context:
        for name in ("training_step", "validation_step"):
            context.setattr(Adversaries, name, getattr(Adversaries, name))
        at_first_batch(cut, signal.SIGUSR1, validating)
        process = start(shards, cut)
        process.join(120)
    assert process.exitcode == 138
    state = torch.load(find_last(cut), weights_only=True)
    assert state["generator_step"] == (VAL_EVERY if validating else STEPS)
    assert state["validation_due"] is True
    if not validating:
        return  # what resumes a finished training is fitting.py: see pipelines/test_signals.py
    last = start(shards, cut)
    last.join(120)
    assert last.exitcode == 0
    # The two batches before the signal, and then all of them.
    assert lines(cut).count("validating") == lines(whole).count("validating") + 2
    assert not differences(states(whole), states(cut))


def test_a_signal_before_the_first_step_saves_nothing(tmp_path, shards, monkeypatch):
    real = Adversaries.on_fit_start

    def on_fit_start(self):
        os.kill(os.getpid(), signal.SIGTERM)
        real(self)

    monkeypatch.setattr(Adversaries, "on_fit_start", on_fit_start)
    process = start(shards, tmp_path / "run")
    process.join(120)
    assert process.exitcode == 143
    assert not lines(tmp_path / "run") and find_last(tmp_path / "run") is None


def test_a_budget_of_seconds_outlives_validations_and_signals(tmp_path, shards):
    run_dir, budget = tmp_path / "run", 3.0
    first = start(shards, run_dir, budget)
    end = time.monotonic() + 120
    while lines(run_dir).count("validating") < 2 * 4 and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGUSR1)
    first.join(120)
    assert first.exitcode == 138
    saved = torch.load(find_last(run_dir), weights_only=True)
    assert saved["generator_step"] >= VAL_EVERY and 0 < saved["training_seconds"] < budget

    last = start(shards, run_dir, budget)
    last.join(120)
    assert last.exitcode == 0
    done = torch.load(find_last(run_dir), weights_only=True)
    seconds, steps = done["training_seconds"], done["generator_step"]
    assert budget <= seconds < saved["training_seconds"] + budget
    assert steps > saved["generator_step"]
    # Every step once, a validation of four pictures at each sixth of them and one at the end.
    trained = [int(line) for line in lines(run_dir) if line != "validating"]
    assert trained == [step for step in range(steps) for _ in range(2)]
    whole = steps // VAL_EVERY + (steps % VAL_EVERY > 0)
    assert 4 * whole <= lines(run_dir).count("validating") < 4 * whole + 4  # one was cut short
    assert done["validation_due"] is False
