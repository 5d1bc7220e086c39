"""A stage-2 step on two gloo processes: both ranks hold identical weights afterwards."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import os, sys, torch, lightning as L
sys.path.insert(0, {root!r})
from lightning_modules.data_parallel import AveragedDDPStrategy
from tests.lightning_modules.small import build_module, loader
rank, own = int(os.environ.get("LOCAL_RANK", 0)), []
for kind in ("unet", "patch"):
    torch.manual_seed(rank)  # the weights differ until training starts
    module = build_module(gan=0.1, steps=2, kind=kind)
    module.losses.register_forward_hook(lambda *call: own.append(float(call[-1]["mse"])))
    weight = next(p for p in module.generator.unet.parameters() if not p.requires_grad)
    drawn = float(weight.detach().sum())
    trainer = L.Trainer(
        accelerator="cpu", devices=2, strategy=AveragedDDPStrategy(),
        max_epochs=-1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, num_sanity_val_steps=0,
        limit_val_batches=0,
    )
    torch.manual_seed(0)
    trainer.fit(module, loader(offset=rank * 100))
    state = {{n: p.detach() for n, p in module.named_parameters() if p.requires_grad}}
    found = {{"state": state, "loss": module.logged["loss/mse/raw"]}}
    found |= {{"own": own[-1], "drawn": drawn, "frozen": float(weight.detach().sum())}}
    found["random"] = float(torch.rand(()))
    torch.save(found, {out!r} + f"/{{kind}}-{{rank}}.pt")
"""


def test_ranks_agree_after_two_steps_on_different_data(tmp_path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(root=str(ROOT), out=str(tmp_path)))
    environment = {k: v for k, v in os.environ.items() if "PYTEST" not in k}
    subprocess.run([sys.executable, script], check=True, timeout=200, env=environment)
    for kind in ("unet", "patch"):
        paths = [tmp_path / f"{kind}-{rank}.pt" for rank in (0, 1)]
        first, second = (torch.load(path, weights_only=True) for path in paths)
        assert first["own"] != second["own"]  # they did see different data
        assert first["loss"] == second["loss"] == pytest.approx((first["own"] + second["own"]) / 2)
        assert first["random"] != second["random"]
        assert first["drawn"] != second["drawn"] and first["frozen"] == second["frozen"]
        assert first["frozen"] == first["drawn"]
        for name, value in first["state"].items():
            assert torch.equal(value, second["state"][name]), name
        assert any(v.abs().sum() > 0 for n, v in first["state"].items() if "lora_B" in n)
