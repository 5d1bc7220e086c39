"""Hydra's multirun: one call of a function for each job of a sweep."""

import sys
from collections.abc import Callable

import hydra
from omegaconf import DictConfig

from experiments.cli.compose import register
from experiments.cli.groups import CONF


def hydra_sweep(overrides: list[str], job: Callable[[DictConfig], None]) -> None:
    """Composes every job of the sweep in the experiment file and calls ``job`` with each.

    Hydra reads ``sys.argv``, so it gets its own there. When a job raises, Hydra prints it, leaves
    out the jobs that remain, and exits.
    """
    register()

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
    def entry(cfg: DictConfig) -> None:
        job(cfg)

    own = sys.argv
    sys.argv = [own[0], *overrides]
    try:
        entry()
    finally:
        sys.argv = own
