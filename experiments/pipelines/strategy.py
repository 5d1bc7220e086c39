"""How the processes of one training run are joined."""

from datetime import timedelta

from lightning.pytorch.strategies import DDPStrategy, Strategy
from omegaconf import DictConfig

from experiments.cli.ranks import several_devices


def build_strategy(cfg: DictConfig) -> Strategy | str:
    """Returns Lightning's strategy for ``trainer.*``: "auto" for one process, else data parallel.

    A rank that waits ``trainer.timeout_seconds`` for the others fails instead of waiting on.
    """
    if not several_devices(cfg):
        return "auto"
    timeout = timedelta(seconds=float(cfg.trainer.timeout_seconds))
    return DDPStrategy(find_unused_parameters=True, timeout=timeout)
