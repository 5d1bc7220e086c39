"""How the processes of one training run are joined."""

from datetime import timedelta

from lightning.pytorch.strategies import Strategy
from omegaconf import DictConfig

from experiments.cli.ranks import several_devices
from lightning_modules.data_parallel import AveragedDDPStrategy


def build_strategy(cfg: DictConfig) -> Strategy | str:
    """Returns Lightning's strategy for ``trainer.*``: "auto" if alone, else our own.

    A rank that waits ``trainer.timeout_seconds`` for the others fails instead of waiting on.
    """
    if not several_devices(cfg):
        return "auto"
    timeout = timedelta(seconds=float(cfg.trainer.timeout_seconds))
    return AveragedDDPStrategy(timeout=timeout)
