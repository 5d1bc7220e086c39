"""Who works on what: devices of the processes, and what is left when one dies."""

import queue
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from experiments.restoring.options import Options
from experiments.restoring.outcomes import Outcome
from experiments.restoring.photos import Photo
from experiments.restoring.processes import _collected, devices_of
from osdface.errors import UserError


def options(**changes) -> Options:
    return Options("in", "out", "tiny", **changes)


@pytest.mark.parametrize(
    ("gpus", "changes", "expected"),
    [
        (0, {}, [None]),
        (4, {}, [None]),
        (0, {"devices": 2}, ["cpu", "cpu"]),
        (4, {"devices": 2, "device": "cpu"}, ["cpu", "cpu"]),
        (4, {"devices": 3}, ["cuda:0", "cuda:1", "cuda:2"]),
        (4, {"devices": 2, "device": "cuda"}, ["cuda:0", "cuda:1"]),
        (4, {"device": "cuda:3"}, ["cuda:3"]),
    ],
)
def test_devices(gpus, changes, expected, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert devices_of(options(**changes)) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"devices": 3}, "devices=3 is too many: this machine has 2"),
        ({"devices": 2, "device": "cuda:1"}, "is one GPU"),
        ({"device": "cuda:2"}, "has 2 of CUDA"),
    ],
)
def test_wrong_devices(changes, expected, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=expected):
        devices_of(options(**changes))


def dead(status: int) -> SimpleNamespace:
    return SimpleNamespace(is_alive=lambda: False, exitcode=status, join=lambda: None)


def test_a_process_that_dies_leaves_its_pictures_as_failed() -> None:
    photos = [Photo(Path(f"{number}.png"), str(number)) for number in range(4)]
    results: queue.Queue = queue.Queue()
    for number in (0, 1, 2):
        results.put(Outcome(photos[number].source, faces=1))
    found = list(_collected([dead(0), dead(-9)], [photos[::2], photos[1::2]], results))
    assert [outcome.error is None for outcome in found] == [True, True, True, False]
    assert found[-1].source == Path("3.png") and "exit status -9" in str(found[-1].error)


def test_a_mistake_in_one_process_ends_all() -> None:
    results: queue.Queue = queue.Queue()
    results.put(UserError("The base is not there."))
    with pytest.raises(UserError, match="base is not there"):
        list(_collected([dead(0)], [[Photo(Path("a.png"), "a")]], results))
