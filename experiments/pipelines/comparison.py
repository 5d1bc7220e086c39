"""One run of a comparison of methods, and what its restorer costs."""

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from experiments.cli.ranks import is_follower
from experiments.counting.main import counts
from experiments.counting.timing import measure
from experiments.pipelines.stage2 import EXPORT, run_variant
from osdface.checkpoints.opening import open_restorer
from osdface.files import write_json

COSTS = "complexity.json"
_REPEATS = 5


def run_method(cfg: DictConfig, run_dir: Path) -> dict[str, float]:
    """Trains one method with one budget; returns the last validation's figures."""
    figures = run_variant(cfg, run_dir)
    if not is_follower():
        write_json(run_dir / COSTS, costs(cfg, run_dir / EXPORT))
    return figures


def costs(cfg: DictConfig, export: Path) -> dict[str, Any]:
    """Returns the counts of a method and the time that its trained restorer takes, LoRA merged.

    Args:
        cfg: Of the run.
        export: Its export; its time is None on random weights, which cannot be restored with.
    """
    found = counts(cfg) | {"time": None}
    if cfg.base.random:
        return found
    gpu = cfg.trainer.accelerator == "gpu" and torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    generator, resolution = open_restorer(export, weights_dir=cfg.weights_dir)
    generator.to(device)
    found["time"] = measure(generator, resolution, device, torch.float32, 1, _REPEATS)
    return found
