"""The ways of benchmarks.ddp train alike, and its figures are what they are called."""

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import ddp, ddp_paper
from benchmarks.ddp_ways import OURS, REFERENCE, WAYS, counted
from benchmarks.train_step import Bench
from tests.lightning_modules.small import build_module, make_batch
from tests.processes import process_group, run_ranks


def small_module() -> Any:
    torch.manual_seed(0)
    return build_module(gan=0.1, steps=5)


def work(rank: int, folder: Path) -> None:
    with process_group(folder / "store", rank, 2):
        found = {}
        for name, way in WAYS.items():
            module = small_module()
            sent, norms = counted(way, module, make_batch(rank))
            trained = {n: p.detach() for n, p in module.named_parameters() if p.requires_grad}
            found[name] = {"bytes": sent, "norms": norms, "weights": trained}
        torch.save(found, folder / f"{rank}.pt")


def test_all_ways_do_the_same_step_and_tell_their_bytes(tmp_path) -> None:
    run_ranks(work, 2, tmp_path)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    wanted = first[OURS]
    for name in WAYS:
        if name == "nothing exchanged":
            assert first[name]["norms"] != second[name]["norms"]
            continue
        for found in (first[name], second[name]):
            assert found["norms"] == pytest.approx(wanted["norms"], rel=1e-4), name
            for parameter, value in wanted["weights"].items():
                # AdamW may turn the rounding error of a zero gradient into a step of its own.
                assert (found["weights"][parameter] - value).abs().mean() < 1e-4, (name, parameter)
    gradients = 4 * sum(value.numel() for value in wanted["weights"].values())
    sent = {
        name: found["bytes"] - first["nothing exchanged"]["bytes"] for name, found in first.items()
    }
    assert sent[OURS] == gradients + 4 * len(wanted["weights"])
    assert sent["a wrapper a network"] == sent["one wrapper, one backward pass"] == gradients
    # At each of the two backward passes it sends the gradients of both networks.
    assert sent[REFERENCE] > 2 * gradients


def test_rows_take_the_slowest_rank() -> None:
    ranks = [
        {REFERENCE: ([1.0, 3.0, 2.0], [0.5] * 3), OURS: ([1.0, 1.0, 1.0], [0.25] * 3)},
        {REFERENCE: ([4.0, 1.0, 1.0], [1.5] * 3), OURS: ([0.5, 1.5, 0.5], [0.75] * 3)},
    ]
    found = ddp.rows(2, 4, {"times": ranks, "bytes": {REFERENCE: 5000, OURS: 2000}})
    assert found[0] == f"| 2 | {REFERENCE} | 3000 | 1000 | 1.00 | 5 | 2.67 |"
    assert found[1] == f"| 2 | {OURS} | 1000 | 500 | 3.00 | 2 | 8.00 |"


def test_ways_with_other_gradients_are_refused() -> None:
    norms = {OURS: {"g": 1.0}, REFERENCE: {"g": 1.01}, "nothing exchanged": {"g": 5.0}}
    with pytest.raises(RuntimeError, match=r"searched: g is 1\.01"):
        ddp._check(norms)
    ddp._check(norms | {REFERENCE: {"g": 1.0001}})


def test_counted_parameters_are_those_that_a_run_trains(tmp_path) -> None:
    module = Bench("tiny", torch.device("cpu"), "fp32", tmp_path).module()
    found = ddp_paper.trained_parameters("tiny")

    def trained(part: torch.nn.Module) -> int:
        return sum(p.numel() for p in part.parameters() if p.requires_grad)

    assert found["LoRA"] + found["prompt convolutions"] == trained(module.generator)
    assert found["latent discriminator"] == trained(module.discriminator)


def test_a_ring_sends_every_byte_twice_but_for_one_share() -> None:
    # 8 GPUs, 1 GB: seven eighths are reduced and seven eighths gathered, at half of 32 GB/s.
    took = ddp_paper.ring_seconds(250_000_000, 8, "PCIe 4 x16, 32 GB/s")
    assert took == pytest.approx(2 * 7 / 8 / 16 + 14 * 10e-6)
