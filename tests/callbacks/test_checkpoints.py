import errno
import json
import os
import pickle
import struct
import zipfile

import pytest
import torch

from callbacks import StepCheckpoint, find_last
from callbacks.checkpoint_files import Found, fault, look_for_last
from osdface.errors import UserError


def test_last_and_best_by_generator_steps(toy, tmp_path):
    module, fit = toy
    perceptual = {4: 0.5, 8: 0.2, 10: 0.4}
    fit(module(max_steps=10, perceptual=perceptual), StepCheckpoint(tmp_path, every_n_steps=3))
    folder = tmp_path / "checkpoints"
    names = ["best.ckpt", "best.json", "last-previous.ckpt", "last.ckpt"]
    assert sorted(p.name for p in folder.iterdir()) == names
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


def test_the_one_before_stays_as_a_fallback(toy, tmp_path):
    module, fit = toy
    fit(module(max_steps=8), StepCheckpoint(tmp_path, every_n_steps=3))
    steps = [torch.load(tmp_path / "checkpoints" / name, weights_only=True)["generator_step"]
             for name in ("last.ckpt", "last-previous.ckpt")]  # fmt: skip
    assert steps == [8, 6]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fails_leaves_both_checkpoints(toy, tmp_path, monkeypatch, number):
    module, fit = toy
    fit(module(max_steps=4), StepCheckpoint(tmp_path, every_n_steps=2))
    folder = tmp_path / "checkpoints"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fails(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", fails)
    remedy = "see to the disk" if number == errno.EIO else "free some space"
    with pytest.raises(UserError, match=rf"last.ckpt could not be written \(.*\): {remedy} and"):
        fit(module(max_steps=4), StepCheckpoint(tmp_path, every_n_steps=2))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def flip(path, place, bits=0x10):
    data = bytearray(path.read_bytes())
    data[place] ^= bits
    path.write_bytes(data)


def a_flipped_weight(path):
    """Flips a bit in the middle of the largest tensor, which torch.load does not notice."""
    with zipfile.ZipFile(path) as archive:
        tensors = [each for each in archive.infolist() if "/data/" in each.filename]
        largest = max(tensors, key=lambda each: each.file_size)
    data = path.read_bytes()
    lengths = struct.unpack_from("<HH", data, largest.header_offset + 26)
    start = largest.header_offset + 30 + sum(lengths)
    flip(path, start + largest.file_size // 2)
    torch.load(path, weights_only=True)


DAMAGES = {
    "flipped": (a_flipped_weight, "checksum is wrong"),
    "cut": (lambda path: os.truncate(path, path.stat().st_size // 2), "cut off"),
    "end cut": (lambda path: os.truncate(path, path.stat().st_size - 100), "cut off"),
    "empty": (lambda path: os.truncate(path, 0), "empty"),
    "zeros": (lambda path: path.write_bytes(bytes(path.stat().st_size)), "cut off or no"),
    "weights alone": (lambda path: torch.save({"state_dict": {}}, path), "holds no generator_step"),
    "another's": (lambda path: path.write_text("not a checkpoint\n" * 99), "no checkpoint"),
    "a pickle": (lambda path: path.write_bytes(pickle.dumps({"a": 1})), "no checkpoint"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_is_replaced_by_the_one_before(toy, tmp_path, capsys, name):
    """The training goes on from there to the same weights, and the damaged file is kept."""
    damage, reason = DAMAGES[name]
    module, fit = toy
    assert find_last(tmp_path) is None
    torch.manual_seed(0)
    whole = module(max_steps=9)
    fit(whole, StepCheckpoint(tmp_path / "whole", every_n_steps=2))
    torch.manual_seed(0)
    fit(module(max_steps=6), StepCheckpoint(tmp_path, every_n_steps=4))
    folder = tmp_path / "checkpoints"
    damage(folder / "last.ckpt")
    broken = (folder / "last.ckpt").read_bytes()
    assert reason in fault(folder / "last.ckpt")
    capsys.readouterr()

    saved = StepCheckpoint(tmp_path, every_n_steps=4)
    found = saved.find_last()
    assert found == folder / "last-previous.ckpt"
    told = capsys.readouterr().out
    assert told.count("\n") == 1 and reason in told and "last-previous.ckpt" in told
    resumed = module(max_steps=9)
    fit(resumed, saved, ckpt_path=found)
    assert torch.equal(resumed.generator.weight, whole.generator.weight)
    assert (folder / "last.damaged-1.ckpt").read_bytes() == broken
    assert look_for_last(folder) == Found(folder / "last.ckpt", {})


def test_no_whole_checkpoint_is_told_in_one_sentence(toy, tmp_path):
    module, fit = toy
    fit(module(max_steps=6), StepCheckpoint(tmp_path, every_n_steps=4))
    folder = tmp_path / "checkpoints"
    a_flipped_weight(folder / "last.ckpt")
    os.truncate(folder / "last-previous.ckpt", 0)
    kept = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError, match=r"last.ckpt \(.*\) and last-previous.ckpt \(it is empty\)"):
        find_last(tmp_path)
    assert {path: path.read_bytes() for path in folder.iterdir()} == kept


def test_every_damage_of_one_byte_is_found_or_does_no_harm(tmp_path):
    """Flips one bit of a byte, all over the file: what passes loads to the same content."""
    path = tmp_path / "last.ckpt"
    weight = torch.randn(40, 40, generator=torch.Generator().manual_seed(1))
    state = {"state_dict": {"w": weight}, "generator_step": 3, "optimizer_states": [], "loops": {}}
    torch.save(state, path)
    whole = path.read_bytes()
    assert fault(path) is None
    found = 0
    for place in range(0, len(whole), 11):
        path.write_bytes(
            whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :]
        )
        if fault(path) is None:
            held = torch.load(path, weights_only=True)
            assert torch.equal(held["state_dict"]["w"], weight) and held["generator_step"] == 3
        else:
            found += 1
    assert found > weight.numel() * 4 / 11  # all those in the tensor, at least


def test_leftovers_of_a_killed_process_are_removed(toy, tmp_path):
    module, fit = toy
    leftover = tmp_path / "checkpoints/.last.0badcafe.ckpt"
    leftover.parent.mkdir()
    leftover.write_bytes(b"half")
    fit(module(max_steps=2), StepCheckpoint(tmp_path))
    assert not leftover.exists()
