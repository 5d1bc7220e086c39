"""Every epoch is exact for any number of processes, workers and shards, whatever breaks."""

from itertools import islice
from types import SimpleNamespace

import pytest
import torch

from datamodules.faces import FaceDataModule
from datamodules.shards import index_tar, write_shards
from osdface.errors import UserError

SAMPLES, HELD_OUT = 37, 6
SIZE = SAMPLES - HELD_OUT
BATCH = 2


@pytest.fixture(scope="module")
def shards(tmp_path_factory, encoded):
    """Returns a function from a number of shards to a folder with 37 samples in that many."""

    def make(count):
        root = tmp_path_factory.mktemp("shards")
        write_shards(
            ((f"p{n:04d}", encoded(n, side=16), {}) for n in range(SAMPLES)),
            root, "train", -(-SAMPLES // count),
        )  # fmt: skip
        assert len(list(root.glob("*.tar"))) == count
        return root

    return make


def spoil(root, keys):
    """Makes these samples' images unreadable in their place."""
    for path in root.glob("*.tar"):
        for member in index_tar(path).members:
            if member.name.partition(".")[0] in keys and member.name.endswith(".png"):
                with open(path, "r+b") as file:
                    file.seek(member.offset)
                    file.write(b"x" * member.size)


def module(root, rank=0, world=1, workers=0, **changes):
    settings = {
        "kind": "shards", "urls": f"{root}/*.tar", "resolution": 16, "batch_size": BATCH,
        "val_batch_size": 2, "val_count": HELD_OUT, "identity_from": "none",
        "num_workers": workers, "max_broken_share": 0.3,
        "degradation": {"preset": "waveface", "strength_scale": 0.1},
    }  # fmt: skip
    data = FaceDataModule(**settings | changes)
    data.trainer = SimpleNamespace(
        world_size=world, global_rank=rank, accelerator=None, state=SimpleNamespace(fn=None)
    )
    return data


def keys(batches):
    return [list(batch["key"]) for batch in batches]


def taken(data, count):
    return list(islice(data.train_dataloader(), count))


def assert_equal(first, second):
    assert keys(first) == keys(second)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one["hq"], other["hq"]) and torch.equal(one["lq"], other["lq"])


def joined(ranks):
    """The global batches of all ranks' batches."""
    return [
        {
            "key": [key for part in parts for key in part["key"]],
            **{name: torch.cat([part[name] for part in parts]) for name in ("hq", "lq")},
        }
        for parts in zip(*ranks, strict=True)
    ]


@pytest.mark.parametrize("count", [1, 3, 5, 8])
@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_epochs_are_exact_whatever_the_number_of_shards(shards, count, world):
    root = shards(count)
    training = set(module(root).train_set.source.keys)
    each = SIZE // (BATCH * world)
    ranks = [taken(module(root, rank, world), 2 * each) for rank in range(world)]
    for epoch in range(2):
        seen = [key for own in ranks for batch in keys(own)[epoch * each :][:each] for key in batch]
        assert len(seen) == len(set(seen)) == each * BATCH * world  # nothing twice
        assert set(seen) <= training and SIZE - len(seen) < BATCH * world  # nothing else missed


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_processes_and_workers_with_broken_samples_and_a_resume(shards, world, workers):
    """Real worker processes; each rank breaks off in mid-epoch and goes on in a new loader."""
    root = shards(5)
    broken = set(module(root).train_set.source.keys[2:9:3])
    spoil(root, broken)
    each = SIZE // (BATCH * world)
    stop, end = each + each // 2, 2 * each
    for rank in range(world):
        expected = taken(module(root, rank, world), end)
        data = module(root, rank, world, workers)
        loader = iter(data.train_dataloader())
        first = []
        for _ in range(stop):
            first.append(next(loader))
            data.batch_finished()
        state = data.state_dict()
        del loader
        resumed = module(root, rank, world, workers)
        resumed.load_state_dict(state)
        assert_equal(first + taken(resumed, end - stop), expected)
        assert set(data.broken_keys) <= broken
        order = data.sampler.own_order(0)
        names = data.train_set.source.keys
        drawn = [[names[n] for n in batch] for batch in order]
        for batch, wanted in zip(keys(expected), drawn, strict=False):
            assert len(batch) == BATCH and not broken & set(batch)
            for key, planned in zip(batch, wanted, strict=True):
                own = {name for row in drawn for name in row}
                assert key == planned if planned not in broken else key in own  # of the same rank


@pytest.mark.parametrize(("world", "batch"), [(1, 4), (2, 2), (4, 1)])
def test_a_resume_on_other_ranks_is_exact_also_with_broken_samples(shards, world, batch):
    root = shards(5)
    spoil(root, set(module(root).train_set.source.keys[1:20:6]))
    whole = taken(module(root, batch_size=4), 14)
    writer = module(root, batch_size=4)
    for _ in zip(range(3), writer.train_dataloader(), strict=False):
        writer.batch_finished()
    ranks = []
    for rank in range(world):
        data = module(root, rank, world, batch_size=batch)
        data.load_state_dict(writer.state_dict())
        ranks.append(taken(data, 11))
    assert_equal(joined(ranks), whole[3:])


def test_a_resume_with_another_global_batch_is_refused(shards):
    root = shards(3)
    state = module(root, batch_size=6).state_dict()
    with pytest.raises(UserError, match="global batch of 6, this run has 8") as caught:
        module(root, 0, 2, batch_size=4).load_state_dict(state)
    assert "\n" not in str(caught.value)


def test_many_broken_samples_below_the_share_do_not_stop(shards):
    root = shards(3)
    names = module(root).train_set.source.keys
    spoil(root, set(names[::2]))
    data = module(root, max_broken_share=0.6)
    each = SIZE // BATCH
    found = keys(taken(data, 3 * each))
    assert len(found) == 3 * each and not {k for b in found for k in b} & set(names[::2])


@pytest.mark.parametrize(
    ("world", "held_out", "workers"),
    [*((world, size, 0) for world in (1, 2, 3, 4) for size in (4, 5, 7)), (2, 5, 2), (3, 7, 1)],
)
def test_validation_is_complete_and_the_same_on_any_number_of_ranks(
    shards, world, held_out, workers
):
    root = shards(3)
    alone = module(root, val_count=held_out)
    spoil(root, set(alone.val_set.source.keys[1:3]))

    def shown(world, workers=0):
        pairs = {}
        for rank in range(world):
            data = module(
                root, rank, world, workers, val_count=held_out, max_broken_share=0.5, seed=rank
            )
            for _ in range(2):  # the second time it is the same
                again = {}
                for number, batch in enumerate(data.val_dataloader()):
                    for place, key in enumerate(batch["key"]):
                        index = rank + world * (number * 2 + place)
                        again[index] = (key, batch["hq"][place], batch["lq"][place])
                pairs.update(again)
                assert len(again) == len(range(rank, held_out, world))
        return [pairs[index] for index in range(held_out)]

    found, expected = shown(world, workers), shown(1)
    good = [key for n, key in enumerate(alone.val_set.source.keys) if n not in (1, 2)]
    assert [key for n, (key, *_) in enumerate(found) if n not in (1, 2)] == good
    for (key, hq, lq), (other, *images) in zip(found, expected, strict=True):
        assert key == other and torch.equal(hq, images[0]) and torch.equal(lq, images[1])
