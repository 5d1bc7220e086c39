"""The order of samples: exact, without repeats, resumable, the same for all world sizes."""

from itertools import islice

import numpy as np
import pytest

from datamodules.samplers import EpochSampler, ValidationSampler
from osdface.errors import UserError

WORLDS = [1, 2, 3]


def take(sampler, count):
    return list(islice(sampler, count))


def numbers(batches):
    return [[draw.sample for draw in batch] for batch in batches]


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("size", [24, 29])
def test_an_epoch_has_no_repeats_and_misses_only_the_last_batch(world, size):
    samplers = [EpochSampler(size, 2, 5, rank, world) for rank in range(world)]
    per_epoch = size // (2 * world)
    for epoch in range(3):
        seen = []
        for sampler in samplers:
            batches = take(sampler, 3 * per_epoch)[epoch * per_epoch : (epoch + 1) * per_epoch]
            assert all(len(batch) == 2 for batch in batches)
            assert {draw.epoch for batch in batches for draw in batch} == {epoch}
            seen += [number for batch in numbers(batches) for number in batch]
        assert len(seen) == len(set(seen)) == per_epoch * 2 * world
        assert set(seen) <= set(range(size)) and size - len(seen) < 2 * world


def test_orders_differ_by_epoch_and_seed_and_are_well_mixed():
    sampler = EpochSampler(100, 10, 1)
    first, second = sampler.own_order(0).ravel(), sampler.own_order(1).ravel()
    assert (first != second).any() and (
        first != EpochSampler(100, 10, 2).own_order(0).ravel()
    ).any()
    assert sorted(first) == sorted(second) == list(range(100))
    assert abs(np.corrcoef(first, np.arange(100))[0, 1]) < 0.4


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("done", [0, 1, 3, 4, 5, 11])
def test_resuming_continues_the_same_sequence(world, done):
    whole = take(EpochSampler(29, 2, 3, world - 1, world), 20)
    sampler = EpochSampler(29, 2, 3, world - 1, world)
    iterator = iter(sampler)
    for _ in range(done):
        next(iterator)
        sampler.batch_finished()
    take(iterator, 4)  # fetched ahead, never finished
    resumed = EpochSampler(29, 2, 3, world - 1, world)
    resumed.load_state_dict(sampler.state_dict())
    assert take(resumed, 20 - done) == whole[done:]
    assert resumed.state_dict()["epoch"] == done // (29 // (2 * world))


def test_equal_global_batches_hold_the_same_samples_on_any_world_size():
    alone = numbers(take(EpochSampler(50, 6, 9), 12))
    for world in (2, 3):
        ranks = [numbers(take(EpochSampler(50, 6 // world, 9, r, world), 12)) for r in range(world)]
        joined = [[n for part in parts for n in part] for parts in zip(*ranks, strict=True)]
        assert joined == alone
    other = EpochSampler(50, 3, 9, 1, 2)
    other.load_state_dict(EpochSampler(50, 6, 9).state_dict())


@pytest.mark.parametrize("world", WORLDS)
def test_spares_are_of_the_same_rank_and_another_sample(world):
    for rank in range(world):
        sampler = EpochSampler(60, 2, 4, rank, world)
        own = set(sampler.own_order(0).ravel().tolist())
        for batch in take(sampler, sampler.batches_per_epoch):
            for draw in batch:
                # All of a short epoch, but first none of this batch.
                assert len(set(draw.spares)) == len(draw.spares) == min(32, len(own) - 1)
                assert set(draw.spares) <= own - {draw.sample}
                near = draw.spares[: sampler.batches_per_epoch // 2]
                assert not set(near) & {other.sample for other in batch}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("size", [3, 10, 13])
def test_validation_is_complete_and_the_same_each_time(world, size):
    samplers = [ValidationSampler(size, 4, rank, world) for rank in range(world)]
    seen = [draw for sampler in samplers for batch in sampler for draw in batch]
    assert sorted(draw.sample for draw in seen) == list(range(size))
    assert {draw.epoch for draw in seen} == {0}
    assert all(len(list(sampler)) == len(sampler) >= 1 for sampler in samplers)
    assert list(samplers[0]) == list(samplers[0])


def test_guard_is_asked_before_each_batch():
    def guard():
        raise UserError("enough")

    with pytest.raises(UserError, match="enough"):
        next(iter(EpochSampler(8, 2, guard=guard)))


@pytest.mark.parametrize("change", [{"seed": 1}, {"size": 30}, {"batch_size": 3}])
def test_a_state_of_another_run_is_refused(change):
    settings = {"size": 29, "batch_size": 2, "seed": 0}
    state = EpochSampler(**settings).state_dict()
    with pytest.raises(UserError, match="checkpoint was made with"):
        EpochSampler(**settings | change).load_state_dict(state)


def test_too_few_images_are_told():
    with pytest.raises(UserError, match=r"5 training images .* 2 on each of 3"):
        EpochSampler(5, 2, 0, 0, 3)
    with pytest.raises(UserError, match="batch size is 0"):
        EpochSampler(5, 0)
    with pytest.raises(UserError, match="2 validation images for 3"):
        ValidationSampler(2, 1, 0, 3)
