"""An interrupted training goes on to the same weights as one that was never interrupted."""

import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import cv2
import pytest
import torch
from safetensors.torch import load_file

from datamodules.portraits import render_portrait
from datamodules.shards import write_shards
from lightning_modules.distillation import OneStepDistillationModule
from osdface.run_folder import read_status, update_status
from tests.experiments.pipelines.conftest import fast_words

ROOT = Path(__file__).resolve().parents[3]


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture
def power_cut():
    """Stops the process's training as a crash would: an exception in the middle of a step."""

    def after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
        real = OneStepDistillationModule.training_step

        def training_step(self, batch, batch_idx):
            if self.generator_step == step:
                raise RuntimeError("power cut")
            return real(self, batch, batch_idx)

        monkeypatch.setattr(OneStepDistillationModule, "training_step", training_step)

    return after


def averages(run_dir: Path) -> dict[str, torch.Tensor]:
    state = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    return state["callbacks"]["EMA"]["shadow"]


def flip_a_weight(path: Path) -> None:
    """Flips a bit of the largest tensor, which torch.load alone does not notice."""
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda each: each.file_size)
    data = bytearray(path.read_bytes())
    data[largest.header_offset + largest.file_size // 2] ^= 0x10
    path.write_bytes(data)


def test_resumed_equals_uninterrupted_bit_for_bit(
    run_fast, tmp_path, power_cut, monkeypatch, capsys
):
    changes = {"scale.stage2.steps": 4, "scale.stage2.val_every": 2, "scale.stage2.ema_decay": 0.5}
    assert run_fast("osdface", tmp_path / "whole", **changes) == 0
    with monkeypatch.context() as context:
        power_cut(3, context)
        with pytest.raises(RuntimeError, match="power cut"):
            run_fast("osdface", tmp_path / "cut", **changes)
    shutil.copytree(tmp_path / "cut", tmp_path / "damaged")
    flip_a_weight(tmp_path / "damaged" / "checkpoints" / "last.ckpt")
    assert run_fast("osdface", tmp_path / "cut", **changes) == 0
    capsys.readouterr()
    assert run_fast("osdface", tmp_path / "damaged", **changes) == 0
    told = capsys.readouterr().out
    assert told.count("is damaged (its checksum is wrong)") == 1
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    from_before = weights(tmp_path / "damaged")
    assert whole.keys() == resumed.keys() == from_before.keys()
    for name in whole:
        assert torch.equal(whole[name], resumed[name]), name
        assert torch.equal(whole[name], from_before[name]), name
    assert (tmp_path / "damaged" / "checkpoints" / "last.damaged-1.ckpt").is_file()
    means, resumed_means = averages(tmp_path / "whole"), averages(tmp_path / "cut")
    exported = load_file(tmp_path / "cut" / "export" / "pytorch_lora_weights.safetensors")
    layers = 0
    for name, mean in means.items():
        assert torch.equal(mean, resumed_means[name]), name
        # The averages, not the last step's weights, are what is exported (and validated).
        plain = "unet." + name.removeprefix("generator.unet.").replace(".default.", ".")
        if plain in exported:
            layers += 1
            assert torch.equal(exported[plain], mean) and not torch.equal(mean, whole[name]), name
    assert layers == len(exported)


def test_ctrl_c_ends_with_130_and_the_same_command_goes_on(run_fast, tmp_path, monkeypatch, capsys):
    real, handler = OneStepDistillationModule.training_step, signal.getsignal(signal.SIGINT)

    def training_step(self, batch, batch_idx):
        if self.generator_step == 1:
            raise KeyboardInterrupt  # what SIGINT becomes
        return real(self, batch, batch_idx)

    with monkeypatch.context() as context:
        context.setattr(OneStepDistillationModule, "training_step", training_step)
        assert run_fast("osdface", tmp_path / "run") == 130
    output = capsys.readouterr()
    assert "the same command goes on" in output.err and "Traceback" not in output.err
    assert signal.getsignal(signal.SIGINT) is handler
    assert read_status(tmp_path / "run")["reason"] == "interrupted (KeyboardInterrupt)"
    assert run_fast("osdface", tmp_path / "run") == 0


def test_another_configuration_is_refused_by_key(run_fast, tmp_path, capsys) -> None:
    assert run_fast("osdface", tmp_path / "run") == 0
    changes = {"scale.stage2.learning_rate": 0.5, "resume": tmp_path / "run"}
    assert run_fast("osdface", tmp_path / "run", **changes) == 2
    assert "scale.stage2.learning_rate" in capsys.readouterr().err


def test_a_finished_training_is_not_trained_on(run_fast, tmp_path) -> None:
    """As after a kill between the last step and the export."""
    assert run_fast("osdface", tmp_path / "run") == 0
    before = weights(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "export")
    update_status(tmp_path / "run", status="running")
    assert run_fast("osdface", tmp_path / "run") == 0
    after = weights(tmp_path / "run")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (tmp_path / "run" / "export" / "config.json").is_file()


def test_a_checkpoint_of_another_vre_is_refused(run_fast, tmp_path, capsys) -> None:
    own = {"cache_dir": tmp_path / "cache"}  # without a stage 1
    assert run_fast("osdface", tmp_path / "run", **own, **{"vre.random": "true"}) == 0
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    changes = own | {"mode": "validate", "checkpoint": checkpoint}
    assert run_fast("osdface", tmp_path / "v", **changes) == 2
    assert "give vre.checkpoint=FOLDER" in capsys.readouterr().err
    assert run_fast("osdface", tmp_path / "w", **changes, **{"vre.checkpoint": "shipped:vre"}) == 2
    assert "another vre" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_with_loader_workers_it_ends_at_the_same_weights(run_fast, tmp_path, cache_dir):
    """The command itself, on shards with two workers, killed at three moments and repeated."""
    shards = tmp_path / "shards"
    pictures = ((f"p{n:04d}", render_portrait(3, n, 0, 64).image[..., ::-1], {}) for n in range(24))
    encoded = ((key, cv2.imencode(".png", image)[1].tobytes(), {}) for key, image, _ in pictures)
    write_shards(encoded, shards, "train", 7)
    changes = {
        "data": "shards", "data.urls": f"{shards}/*.tar", "data.val_count": 3,
        "data.num_workers": 2, "scale.stage2.steps": 14, "scale.stage2.val_every": 5,
        "scale.stage2.checkpoint_every": 2, "cache_dir": cache_dir,
    }  # fmt: skip
    assert run_fast("osdface", tmp_path / "whole", **changes) == 0  # stage 1 is cached then
    killed = tmp_path / "killed"
    words = fast_words(**changes, output_dir=killed)
    command = [sys.executable, "-m", "experiments.run", "experiment=osdface", *words]
    for wanted in (3, 6, 9):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        while process.poll() is None and steps_logged(killed) < wanted:
            time.sleep(0.01)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert run_fast("osdface", killed, **changes) == 0
    whole, resumed = weights(tmp_path / "whole"), weights(killed)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert len(whole) == len(resumed) > 0


def steps_logged(run_dir: Path) -> int:
    path = run_dir / "metrics.csv"
    rows = path.read_text().splitlines()[1:] if path.exists() else []
    return max((int(row.partition(",")[0] or 0) for row in rows), default=0)
