"""A budget of seconds on two gloo processes, of which one is slow: they end at the same step."""

import os
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
BUDGET = 1.5
SCRIPT = """
import sys, time, torch, lightning as L
sys.path.insert(0, {root!r})
from lightning_modules.data_parallel import AveragedDDPStrategy
from lightning_modules.stepped import SteppedModule, StepSettings, adam

class Toy(SteppedModule):
    def __init__(self):
        super().__init__(StepSettings(1, 0.01, schedule="cosine", max_seconds={budget}))
        torch.manual_seed(0)
        self.layer, self.rates = torch.nn.Linear(3, 1), []
    def configure_optimizers(self):
        return adam(self.parameters(), 0.01)
    def training_step(self, batch, index):
        time.sleep(0.04 if self.global_rank else 0.005)
        self.update(self.optimizers(), self.layer(batch["x"]).square().mean(), "layer")
        self.rates.append(self.optimizers().param_groups[0]["lr"])
        self.finish_micro_batch()

module = Toy()
trainer = L.Trainer(
    accelerator="cpu", devices=2, strategy=AveragedDDPStrategy(), max_epochs=-1, logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    use_distributed_sampler=False, limit_val_batches=0,
)
torch.manual_seed(trainer.global_rank)
batches = [{{"x": torch.randn(2, 3)}} for _ in range(1000)]
trainer.fit(module, torch.utils.data.DataLoader(batches, batch_size=None))
found = {{"step": module.generator_step, "seconds": module.clock.seconds, "rates": module.rates,
         "weight": module.layer.weight.detach(), "images": module.images_seen}}
torch.save(found, {out!r} + f"/{{trainer.global_rank}}.pt")
"""


def test_both_ranks_spend_the_seconds_of_the_slower_one(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(root=str(ROOT), budget=BUDGET, out=str(tmp_path)))
    environment = {k: v for k, v in os.environ.items() if "PYTEST" not in k}
    subprocess.run([sys.executable, script], check=True, timeout=200, env=environment)
    first, second = (torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in (0, 1))
    assert first["step"] == second["step"] and 5 < first["step"] <= BUDGET / 0.04 + 1
    assert first["seconds"] == second["seconds"] >= BUDGET
    # The rates follow the agreed clock: else the ranks' weights would part.
    assert first["rates"] == second["rates"] and first["rates"][-1] < 0.2 * first["rates"][0]
    assert torch.equal(first["weight"], second["weight"])
    assert first["images"] == first["step"] * 4
