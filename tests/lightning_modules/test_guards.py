"""Non-finite steps: skipped by both optimizers, on all ranks, and written down with their batch."""

import copy
import datetime
import json
from pathlib import Path

import lightning as L
import pytest
import torch
from torch import distributed, multiprocessing

from callbacks import EMA, GuardLog
from lightning_modules.finite import agreed
from osdface.errors import UserError
from tests.lightning_modules.small import build_module, make_batch


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

    module._log_terms = lambda *parts: real(module, *parts) + float("inf")
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
    module.critics[0].adversarial.discriminator = lambda real, fake: real.mean() * float("nan")
    with pytest.raises(UserError, match="3 updates in a row of the discriminator") as error:
        fit(module, [make_batch(n) for n in range(9)], GuardLog(tmp_path))
    assert "\n" not in str(error.value)
    found = records(tmp_path)
    assert [each["in_a_row"] for each in found] == [1, 2, 3]
    assert {each["network"] for each in found} == {"discriminator"}
    assert found[-1]["keys"] == ["2-0", "2-1"]


def vote(rank: int, folder: str) -> None:
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=2,
        timeout=datetime.timedelta(seconds=60),
    )
    answers = [agreed(finite, torch.device("cpu")) for finite in (True, rank == 0, rank == 1)]
    Path(folder, f"{rank}.json").write_text(json.dumps(answers))
    distributed.destroy_process_group()


def test_two_processes_agree_on_what_is_finite(tmp_path) -> None:
    assert agreed(True, torch.device("cpu")) and not agreed(False, torch.device("cpu"))
    multiprocessing.start_processes(vote, (str(tmp_path),), nprocs=2, start_method="fork")
    for rank in (0, 1):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == [True, False, False]
