"""What one process finds broken, all of them know, save, count and stop at: real processes."""

import multiprocessing
from itertools import islice
from types import SimpleNamespace

import pytest
import torch

from callbacks.values import training_values
from datamodules import progress
from datamodules.faces import FaceDataModule
from datamodules.shards import write_shards
from osdface.errors import UserError


def from_shards(root, rank, world, **changes):
    settings = {
        "kind": "shards", "urls": f"{root}/*.tar", "resolution": 16, "batch_size": 1,
        "val_count": 4, "identity_from": "none", "max_broken_share": 0.4,
        "degradation": {"preset": "waveface", "strength_scale": 0.1},
    }  # fmt: skip
    data = FaceDataModule(**settings | changes)
    data.trainer = SimpleNamespace(
        world_size=world, global_rank=rank, accelerator=None, datamodule=data,
        state=SimpleNamespace(fn=None),
    )  # fmt: skip
    return data


def shards_with_broken(root, encoded, broken):
    whole = [(f"p{n:04d}", encoded(n, side=16), {}) for n in range(28)]
    samples = [
        (key, image[: 60 if key in broken else None], labels) for key, image, labels in whole
    ]
    write_shards(samples, root, "train", 10)


def as_rank(rank, world, store, root, changes, count, answers):
    """One process of a training: reads ``count`` batches and tells what it knows then."""
    torch.distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=world)
    progress.SHARE_EVERY = 4
    data = from_shards(root, rank, world, **changes)
    done = 0
    try:
        for _ in islice(data.train_dataloader(), count):
            data.batch_finished()
            done += 1
        own = list(data.broken_keys)
        state = data.state_dict()
        logged = training_values(SimpleNamespace(_trainer=data.trainer, logged={}))
        answers.put((rank, done, own, state["broken"], logged))
    except UserError as error:
        answers.put((rank, done, str(error), None, None))
    torch.distributed.destroy_process_group()


def run_ranks(world, *arguments):
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    jobs = [
        context.Process(target=as_rank, args=(rank, world, *arguments, answers))
        for rank in range(world)
    ]
    for job in jobs:
        job.start()
    told = sorted(answers.get(timeout=60) for _ in jobs)
    for job in jobs:
        job.join(60)
    return told


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("world", [2, 3])
def test_the_broken_samples_of_all_ranks_are_in_the_checkpoint_and_counted(
    tmp_path, encoded, world, workers
):
    root = tmp_path / "shards"
    shards_with_broken(root, encoded, ())
    names = from_shards(root, 0, 1).train_set.source.keys
    # In the first batches: one of the first rank's and one of the last rank's.
    order = [from_shards(root, rank, world).sampler.own_order(0) for rank in range(world)]
    broken = {names[order[0][0, 0]], names[order[-1][1, 0]]}
    shards_with_broken(root, encoded, broken)
    # Fewer batches than they share at: only the checkpoint can have told them.
    told = run_ranks(world, tmp_path / "store", root, {"num_workers": workers}, 2)
    assert [len(own) < 2 for _, _, own, _, _ in told].count(True) >= 1
    for _, done, _, saved, logged in told:
        assert done == 2 and set(saved) == broken and logged["data/broken"] == 2
    resumed = from_shards(root, 0, world)
    resumed.progress.train_set.mark_broken(frozenset(told[1][3]))
    assert set(resumed.broken_keys) == broken


def test_all_ranks_stop_where_the_share_of_all_is_exceeded(tmp_path, encoded):
    root = tmp_path / "shards"
    shards_with_broken(root, encoded, ())
    names = from_shards(root, 0, 1).train_set.source.keys
    order = [from_shards(root, rank, 2).sampler.own_order(0) for rank in range(2)]
    broken = {names[order[rank][n, 0]] for rank in range(2) for n in range(3)}
    shards_with_broken(root, encoded, broken)
    # 3 of 24 on either rank are within a fifth, 6 of 24 of both are not.
    told = run_ranks(2, tmp_path / "store", root, {"max_broken_share": 0.2}, 10)
    for _, done, sentence, _, _ in told:
        assert done == 4 and sentence.startswith("6 of 24 images cannot be read")
        assert "data.max_broken_share" in sentence and "\n" not in sentence
