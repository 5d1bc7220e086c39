"""Stage-2 steps on two gloo processes of which one meets what is not finite."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys, torch, lightning as L
sys.path.insert(0, {root!r})
from callbacks import EMA, GuardLog
from lightning_modules.data_parallel import AveragedDDPStrategy
from tests.lightning_modules.small import build_module, make_batch
torch.manual_seed(0)
module, ema = build_module(gan=0.1, steps=4), EMA(0.5)
trainer = L.Trainer(
    accelerator="cpu", devices=2, strategy=AveragedDDPStrategy(),
    max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
    enable_model_summary=False, use_distributed_sampler=False, num_sanity_val_steps=0,
    limit_val_batches=0, callbacks=[ema, GuardLog({out!r})],
)
rank = trainer.global_rank
batches = [make_batch(rank * 100 + n) for n in range(4)]
if rank == 1:
    batches[1]["lq"] = batches[1]["lq"] * float("nan")
real = module._log_terms
own = []
def infinite(*parts):  # loss alone, on rank 0 alone: no gradient carries it over
    total = real(*parts)
    own.append(parts[0]["mse"])
    return total + float("inf") if rank == 0 and module.generator_step == 2 else total
module._log_terms = infinite
trainer.fit(module, torch.utils.data.DataLoader(batches, batch_size=None))
state = {{n: p.detach() for n, p in module.named_parameters() if p.requires_grad}}
steps = [int(s["step"]) for o in trainer.optimizers for s in o.state.values()]
found = {{"state": state, "skipped": module.skipped_steps, "steps": steps, "shadow": ema.shadow}}
found |= {{"loss": module.logged["loss/mse/raw"], "own": float(own[-1])}}
torch.save(found, {out!r} + f"/{{rank}}.pt")
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What both ranks of one run of SCRIPT left behind."""
    found = tmp_path_factory.mktemp("ddp")
    script = found / "script.py"
    script.write_text(SCRIPT.format(root=str(ROOT), out=str(found)))
    environment = {k: v for k, v in os.environ.items() if "PYTEST" not in k}
    subprocess.run([sys.executable, script], check=True, timeout=200, env=environment)
    return found


@pytest.fixture(scope="module")
def ranks(folder) -> list[dict[str, Any]]:
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def records(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_ranks_agree_after_steps_on_different_data(ranks) -> None:
    first, second = ranks
    assert first["own"] != second["own"]  # they did see different data
    assert first["loss"] == second["loss"] == pytest.approx((first["own"] + second["own"]) / 2)
    for part in ("state", "shadow"):
        for name, value in first[part].items():
            assert torch.isfinite(value).all() and torch.equal(value, second[part][name]), name
    assert any(v.abs().sum() > 0 for n, v in first["state"].items() if "lora_B" in n)


def test_all_ranks_skip_what_is_not_finite_on_one(ranks, folder) -> None:
    first, second = ranks
    # Step 1 by rank 1's batch, step 2 of the generator by rank 0's loss.
    assert first["skipped"] == second["skipped"] == 2
    assert set(first["steps"]) == {2, 3} and first["steps"] == second["steps"]
    here, there = records(folder, "guards.jsonl"), records(folder, "guards.rank1.jsonl")
    assert [(r["step"], r["network"]) for r in here] == [
        (1, "generator"), (1, "discriminator"), (2, "generator"),
    ]  # fmt: skip
    assert [r["step"] for r in there] == [1, 1, 2]
    # Each rank names its own batch; the one with the bad number is the one with the bad loss.
    assert there[0]["keys"] == ["101-0", "101-1"] and there[0]["loss"] == ["nan"]
    assert here[0]["keys"] == ["1-0", "1-1"] and here[0]["loss"] != ["nan"]
    assert here[2]["loss"] == ["inf"] and there[2]["loss"] != ["inf"]
