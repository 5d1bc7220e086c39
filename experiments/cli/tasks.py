"""Which function runs a task; imported only when it runs, so that the command line stays fast."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

_PIPELINES = "experiments.pipelines"
# Task of an experiment -> run(cfg, output_dir) -> figures. The task `ablation` is run by
# experiments.ablation through its three parts.
TASKS = {
    "vq_dictionary": f"{_PIPELINES}.stage1:run",
    "association": f"{_PIPELINES}.stage1:run",
    "vre": f"{_PIPELINES}.stage1:run",
    "osdface": f"{_PIPELINES}.stage2:run",
    "pretrain_vae": f"{_PIPELINES}.pretrain:run",
    "pretrain_base": f"{_PIPELINES}.pretrain:run",
    "pretrain_identity": f"{_PIPELINES}.pretrain:run",
    "pretrain_perceptual": f"{_PIPELINES}.pretrain:run",
    "pretrain_vre": f"{_PIPELINES}.pretrain:run",
    "pretrain_tiny": f"{_PIPELINES}.pretrain:run",
    "vq_dictionary.evaluate": f"{_PIPELINES}.evaluation:evaluate_dictionaries",
    "association.evaluate": f"{_PIPELINES}.evaluation:evaluate_dictionaries",
    "vre.evaluate": f"{_PIPELINES}.evaluation:evaluate_dictionaries",
    "osdface.evaluate": f"{_PIPELINES}.evaluation:evaluate_restorer",
    "ablation.prepare": f"{_PIPELINES}.stage2:prepare",
    "ablation.variant": f"{_PIPELINES}.stage2:run_variant",
    "ablation.method": f"{_PIPELINES}.comparison:run_method",
    "ablation.report": "experiments.reporting.ablation:write_report",
}


def load(task: str) -> Callable[..., Any]:
    """Returns the function of a task."""
    module, _, name = TASKS[task].partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function
