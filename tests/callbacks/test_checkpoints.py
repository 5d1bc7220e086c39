import json

import pytest
import torch

from callbacks import StepCheckpoint, find_last
from callbacks.checkpoints import is_whole
from osdface.errors import UserError


def test_last_and_best_by_generator_steps(toy, tmp_path):
    module, fit = toy
    perceptual = {4: 0.5, 8: 0.2, 10: 0.4}
    fit(module(max_steps=10, perceptual=perceptual), StepCheckpoint(tmp_path, every_n_steps=3))
    folder = tmp_path / "checkpoints"
    assert sorted(p.name for p in folder.iterdir()) == ["best.ckpt", "best.json", "last.ckpt"]
    assert json.loads((folder / "best.json").read_text()) == {
        "metric": "perceptual",
        "value": 0.2,
        "step": 8,
    }
    # weights_only=True is torch's safe loader: tensors and plain values, nothing else.
    assert torch.load(folder / "best.ckpt", weights_only=True)["generator_step"] == 8
    last = torch.load(folder / "last.ckpt", weights_only=True)
    assert last["generator_step"] == 10
    assert find_last(tmp_path) == folder / "last.ckpt"


def test_resume_remembers_the_best(toy, tmp_path):
    module, fit = toy
    fit(module(max_steps=6, perceptual={4: 0.1, 6: 0.3}), StepCheckpoint(tmp_path))
    resumed = StepCheckpoint(tmp_path)
    model = module(max_steps=14, perceptual={8: 0.2, 12: 0.15, 14: 0.5})
    fit(model, resumed, ckpt_path=find_last(tmp_path))
    assert model.generator_step == 14
    assert (resumed.best_value, resumed.best_step) == (0.1, 4)
    best = torch.load(tmp_path / "checkpoints/best.ckpt", weights_only=True)
    assert best["generator_step"] == 4


def test_mode_max_and_values_that_are_not_finite(toy, tmp_path):
    module, fit = toy
    saved = StepCheckpoint(tmp_path, metric="psnr", mode="max")
    fit(module(max_steps=8), saved)
    assert (saved.best_value, saved.best_step) == (28.0, 8)
    saved = StepCheckpoint(tmp_path / "nan")
    fit(module(max_steps=8, perceptual={4: float("nan"), 8: 0.5}), saved)
    assert (saved.best_value, saved.best_step) == (0.5, 8)


def test_an_unknown_metric_is_told_before_training(toy, tmp_path):
    module, fit = toy
    with pytest.raises(UserError, match=r"'percepual'.*nearest names: perceptual"):
        fit(module(), StepCheckpoint(tmp_path, metric="percepual"))


def test_a_failed_save_leaves_the_former_checkpoint(toy, tmp_path, monkeypatch):
    module, fit = toy
    fit(module(max_steps=4), StepCheckpoint(tmp_path))
    last = tmp_path / "checkpoints/last.ckpt"
    before = last.read_bytes()

    def full_disk(self, path, *args, **kwargs):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("lightning.pytorch.Trainer.save_checkpoint", full_disk)
    with pytest.raises(OSError, match="No space left"):
        fit(module(max_steps=4), StepCheckpoint(tmp_path, every_n_steps=2))
    assert last.read_bytes() == before
    assert not list(last.parent.glob(".*"))


def test_find_last_takes_the_former_one_if_the_last_is_broken(toy, tmp_path):
    assert find_last(tmp_path) is None
    module, fit = toy
    fit(module(max_steps=2), StepCheckpoint(tmp_path))
    last = tmp_path / "checkpoints/last.ckpt"
    previous = last.with_name("last-previous.ckpt")
    previous.write_bytes(last.read_bytes())
    last.write_bytes(last.read_bytes()[:-100])
    assert not is_whole(last)
    assert find_last(tmp_path) == previous


def test_leftovers_of_a_killed_process_are_removed(toy, tmp_path):
    module, fit = toy
    leftover = tmp_path / "checkpoints/.last.0badcafe.ckpt"
    leftover.parent.mkdir()
    leftover.write_bytes(b"half")
    fit(module(max_steps=2), StepCheckpoint(tmp_path))
    assert not leftover.exists()
