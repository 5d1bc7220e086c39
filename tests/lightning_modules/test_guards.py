"""Non-finite steps: skipped by both optimizers, on all ranks, and written down with their batch."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
import torch

from callbacks import EMA, GuardLog
from osdface.errors import UserError
from tests.lightning_modules.small import build_module, make_batch

ROOT = Path(__file__).resolve().parents[2]


def fit(module, batches, *callbacks) -> None:
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        limit_val_batches=0, callbacks=list(callbacks),
    )  # fmt: skip
    trainer.fit(module, torch.utils.data.DataLoader(batches, batch_size=None))


def spoiled(number: int, value: float = float("nan")) -> dict:
    batch = make_batch(number)
    batch["lq"] = batch["lq"].clone()
    batch["lq"][1, 0, 3, 3] = value
    return batch


def records(folder: Path, name: str = "guards.jsonl") -> list[dict]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_both_optimizers_skip_and_the_file_names_the_batch(tmp_path) -> None:
    torch.manual_seed(0)
    module = build_module(gan=0.1, steps=3)
    fit(module, [make_batch(0), spoiled(1), make_batch(2)], GuardLog(tmp_path))
    assert module.generator_step == 3 and module.skipped_steps == 1
    found = records(tmp_path)
    assert [each["network"] for each in found] == ["generator", "discriminator"]
    for each in found:
        assert each["kind"] == "skipped" and each["step"] == 1 and each["in_a_row"] == 1
        assert each["keys"] == ["1-0", "1-1"] and each["gradient_norm"] == "nan"
    for optimizer in module.trainer.optimizers:
        for state in optimizer.state.values():
            assert state["step"] == 2 and torch.isfinite(state["exp_avg"]).all()
    assert all(torch.isfinite(p).all() for p in module.parameters())


def test_an_infinite_loss_with_a_finite_gradient_is_skipped_too(tmp_path) -> None:
    torch.manual_seed(0)
    module = build_module(steps=2)
    before = {n: p.clone() for n, p in module.named_parameters() if p.requires_grad}
    real = type(module)._log_terms

    def endless(self, terms, weights):
        return real(self, terms, weights) + torch.tensor(float("inf"))

    module._log_terms = endless.__get__(module)
    fit(module, [make_batch(0)], GuardLog(tmp_path))
    assert records(tmp_path)[0]["loss"] == ["inf"]
    assert records(tmp_path)[0]["gradient_norm"] not in ("inf", "nan")
    assert all(torch.equal(p, before[n]) for n, p in module.named_parameters() if n in before)


def test_one_bad_micro_batch_spoils_its_step_alone(tmp_path) -> None:
    torch.manual_seed(0)
    module = build_module(gan=0.1, steps=3, accumulate=2)
    numbers = [make_batch(0), make_batch(1), spoiled(2), make_batch(3), make_batch(4)]
    fit(module, [*numbers, make_batch(5)], GuardLog(tmp_path))
    assert module.generator_step == 3 and module.skipped_steps == 1
    for each in records(tmp_path):
        assert each["step"] == 1 and each["keys"] == ["2-0", "2-1", "3-0", "3-1"]
        assert len(each["loss"]) == 2 and each["loss"][0] == "nan" != each["loss"][1]
    assert all(torch.isfinite(p).all() for p in module.parameters())


def test_averages_do_not_move_in_a_skipped_step() -> None:
    torch.manual_seed(0)
    whole = build_module(gan=0.1, steps=2)
    spoilt = copy.deepcopy(whole)
    first, second = EMA(0.5), EMA(0.5)
    fit(whole, [make_batch(0)], first)
    fit(spoilt, [make_batch(0), spoiled(1)], second)
    assert spoilt.generator_step == 2 and spoilt.skipped_steps == 1
    for name, average in first.shadow.items():
        assert torch.equal(second.shadow[name], average), name
        assert torch.equal(spoilt.get_parameter(name), whole.get_parameter(name)), name


def test_each_optimizer_counts_its_own_row_and_the_last_skip_is_written(tmp_path) -> None:
    """A generator that goes on must not hide a discriminator that is broken for good."""
    torch.manual_seed(0)
    module = build_module(gan=0.1, steps=9, max_skipped=3)
    module.adversarial.discriminator = lambda real, fake: real.mean() * float("nan")
    with pytest.raises(UserError, match="3 updates in a row of the discriminator") as error:
        fit(module, [make_batch(n) for n in range(9)], GuardLog(tmp_path))
    assert "\n" not in str(error.value)
    found = records(tmp_path)
    assert [each["in_a_row"] for each in found] == [1, 2, 3]
    assert {each["network"] for each in found} == {"discriminator"}
    assert found[-1]["keys"] == ["2-0", "2-1"]


SCRIPT = """
import sys, torch, lightning as L
sys.path.insert(0, {root!r})
from lightning.pytorch.strategies import DDPStrategy
from callbacks import EMA, GuardLog
from tests.lightning_modules.small import build_module, make_batch
torch.manual_seed(0)
module, ema = build_module(gan=0.1, steps=4), EMA(0.5)
trainer = L.Trainer(
    accelerator="cpu", devices=2, strategy=DDPStrategy(find_unused_parameters=True),
    max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
    enable_model_summary=False, use_distributed_sampler=False, num_sanity_val_steps=0,
    limit_val_batches=0, callbacks=[ema, GuardLog({out!r})],
)
rank = trainer.global_rank
batches = [make_batch(rank * 100 + n) for n in range(4)]
if rank == 1:
    batches[1]["lq"] = batches[1]["lq"] * float("nan")
real = module._log_terms
def infinite(terms, weights):  # loss alone, on rank 0 alone: no gradient carries it over
    total = real(terms, weights)
    return total + float("inf") if rank == 0 and module.generator_step == 2 else total
module._log_terms = infinite
trainer.fit(module, torch.utils.data.DataLoader(batches, batch_size=None))
state = {{n: p.detach() for n, p in module.named_parameters() if p.requires_grad}}
steps = [int(s["step"]) for o in trainer.optimizers for s in o.state.values()]
torch.save({{"state": state, "skipped": module.skipped_steps, "steps": steps,
             "shadow": ema.shadow}}, {out!r} + f"/{{rank}}.pt")
"""


def test_all_ranks_skip_what_is_not_finite_on_one(tmp_path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(root=str(ROOT), out=str(tmp_path)))
    environment = {k: v for k, v in os.environ.items() if "PYTEST" not in k}
    subprocess.run([sys.executable, script], check=True, timeout=200, env=environment)
    first, second = (torch.load(tmp_path / f"{r}.pt", weights_only=True) for r in (0, 1))
    # Step 1 by rank 1's batch, step 2 of the generator by rank 0's loss.
    assert first["skipped"] == second["skipped"] == 2
    assert set(first["steps"]) == {2, 3} and first["steps"] == second["steps"]
    for part in ("state", "shadow"):
        for name, value in first[part].items():
            assert torch.isfinite(value).all() and torch.equal(value, second[part][name]), name
    here, there = records(tmp_path), records(tmp_path, "guards.rank1.jsonl")
    assert [(r["step"], r["network"]) for r in here] == [
        (1, "generator"), (1, "discriminator"), (2, "generator"),
    ]  # fmt: skip
    assert [r["step"] for r in there] == [1, 1, 2]
    # Each rank names its own batch; the one with the bad number is the one with the bad loss.
    assert there[0]["keys"] == ["101-0", "101-1"] and there[0]["loss"] == ["nan"]
    assert here[0]["keys"] == ["1-0", "1-1"] and here[0]["loss"] != ["nan"]
    assert here[2]["loss"] == ["inf"] and there[2]["loss"] != ["inf"]
