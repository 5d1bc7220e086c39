"""A training that reads shards with workers is killed again and again and misses nothing."""

import multiprocessing
import os
import random
import signal
import time
import zlib

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.strategies import SingleDeviceStrategy

from callbacks import StepCheckpoint, find_last
from datamodules.faces import FaceDataModule
from datamodules.shards import write_shards
from lightning_modules.stepped import SteppedModule, StepSettings

STEPS = 60


class Recorder(SteppedModule):
    """Learns one number and notes step, keys and a checksum of the pixels of each batch."""

    def __init__(self, log):
        super().__init__(StepSettings(STEPS, 0.1))
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.log_file = log

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), 0.1)
        for group in optimizer.param_groups:
            group["initial_lr"] = 0.1
        return optimizer

    def training_step(self, batch, _):
        pixels = zlib.crc32(batch["hq"].numpy().tobytes() + batch["lq"].numpy().tobytes())
        with open(self.log_file, "a") as file:
            file.write(f"{self.generator_step} {','.join(batch['key'])} {pixels:08x}\n")
        time.sleep(0.01)
        self.update(self.optimizers(), (self.weight - batch["lq"].mean()) ** 2, "weight")
        self.finish_micro_batch()

    def validation_step(self, batch, _):
        """Nothing is measured."""


def train(root, run_dir, workers):
    """One process of the training: from its last checkpoint, if there is one, to the end."""
    run_dir.mkdir(exist_ok=True)
    data = FaceDataModule(
        "shards", urls=f"{root}/*.tar", resolution=16, batch_size=2, val_count=4,
        identity_from="none", num_workers=workers, max_broken_share=0.3, seed=3,
        degradation={"preset": "waveface", "strength_scale": 0.1},
    )  # fmt: skip
    trainer = Trainer(
        accelerator="cpu", strategy=SingleDeviceStrategy(torch.device("cpu")), max_epochs=-1,
        logger=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, limit_val_batches=0, use_distributed_sampler=False,
        callbacks=[StepCheckpoint(run_dir, 7, metric=None)], default_root_dir=run_dir,
    )  # fmt: skip
    trainer.fit(Recorder(run_dir / "log"), data, ckpt_path=find_last(run_dir))


def lines(run_dir):
    """The finished lines of the log; the last one may be cut by a kill."""
    path = run_dir / "log"
    text = path.read_text() if path.exists() else ""
    return text[: text.rfind("\n") + 1].splitlines()


def start(*arguments):
    process = multiprocessing.get_context("fork").Process(target=train, args=arguments)
    process.start()
    return process


@pytest.mark.parametrize("workers", [1, 3])
def test_killed_at_any_step_it_goes_on_bit_for_bit(tmp_path, encoded, workers):
    root = tmp_path / "shards"
    samples = [(f"p{n:04d}", encoded(n, side=16), {}) for n in range(29)]
    samples[5] = ("p0005", encoded(5)[:-60], {})  # cut off: it is replaced
    write_shards(samples, root, "train", 6)
    whole = start(root, tmp_path / "whole", 0)
    whole.join(60)
    assert whole.exitcode == 0
    expected = lines(tmp_path / "whole")
    assert [int(line.split()[0]) for line in expected] == list(range(STEPS))
    assert "p0005" not in " ".join(expected)

    killed, rng, run_dir = [], random.Random(workers), tmp_path / "killed"
    while len(killed) < 4:
        before, wait = len(lines(run_dir)), rng.randrange(8, 15)
        process = start(root, run_dir, workers)
        deadline = time.monotonic() + 60
        while len(lines(run_dir)) < before + wait and time.monotonic() < deadline:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        text = "\n".join(lines(run_dir))
        (run_dir / "log").write_text(text + "\n")  # without a cut line
        killed.append(int(text.rpartition("\n")[2].split()[0]))
    last = start(root, run_dir, workers)
    last.join(60)
    assert last.exitcode == 0
    found = lines(run_dir)
    steps = [int(line.split()[0]) for line in found]
    begins = [steps[n] for n in range(1, len(steps)) if steps[n] <= steps[n - 1]]
    assert begins and all(step % 7 == 0 for step in begins)  # each time from a checkpoint
    assert killed == sorted(killed) and steps[-1] == STEPS - 1
    assert all(line == expected[step] for line, step in zip(found, steps, strict=True))
    assert set(found) == set(expected)
    weights = [
        torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]["weight"]
        for folder in (tmp_path / "whole", run_dir)
    ]
    assert torch.equal(*weights)
