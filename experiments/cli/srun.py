"""Tasks that Slurm's srun started together: the first one prepares the run, the others wait.

Lightning's own launcher starts the further processes of a run when the first one is about to train;
srun starts all of them at once. Here the others wait until the first one has come that far, so
that folder, configuration, pictures and caches are made once and everything after that is the same
with either way of starting.
"""

import os
import time
from pathlib import Path
from typing import Any

from osdface.errors import UserError
from osdface.files import read_json, write_json

TRAINING, ENDED = "training", "ended"


def in_slurm() -> bool:
    """True inside a Slurm job, however this process was started there."""
    return "SLURM_JOB_ID" in os.environ


def srun_tasks() -> int:
    """Returns how many tasks the srun that started this process has; 1 outside srun.

    A batch script, an interactive shell and what they start have no step of several tasks; their
    SLURM_NTASKS is what the job may use and says nothing about how it was started.
    """
    return int(os.environ.get("SLURM_STEP_NUM_TASKS") or 1) if in_slurm() else 1


def check_srun(cfg: Any) -> None:
    """Raises a :class:`UserError` if srun's tasks are not the processes of this configuration."""
    tasks = srun_tasks()
    devices, nodes = int(cfg.trainer.devices), int(cfg.trainer.num_nodes)
    if tasks == 1:
        # Gathering needs one process, and so does preparing where stage 1 is there.
        if cfg.part not in ("prepare", "gather"):
            check_alone(nodes, devices)
        return
    step_nodes = int(os.environ.get("SLURM_STEP_NUM_NODES") or 1)
    if step_nodes != nodes or step_nodes * devices != tasks:
        raise UserError(
            f"srun started {tasks} tasks on {step_nodes} nodes, but trainer.num_nodes={nodes} and "
            f"trainer.devices={devices}: give --nodes and --ntasks-per-node of these numbers, and "
            f"trainer.devices={tasks // step_nodes if tasks % step_nodes == 0 else 'N'} "
            f"trainer.num_nodes={step_nodes}."
        )
    if not cfg.output_dir:
        raise UserError(
            "srun with several tasks needs output_dir=, which each of them has to know; a requeued "
            "job goes on there."
        )
    if cfg.task == "ablation" and cfg.part == "all":
        raise UserError(
            "An ablation starts processes of its own, which srun's tasks cannot: give each part an "
            "srun of its own, part=prepare, then part=variant variant=NAME for each, then "
            "part=gather; or start it without srun on one node."
        )


def check_alone(nodes: int, devices: int) -> None:
    """Raises a :class:`UserError` if one process of a Slurm job is to train for several nodes."""
    if in_slurm() and srun_tasks() == 1 and nodes > 1:
        raise UserError(
            f"trainer.num_nodes={nodes} needs srun inside a Slurm job, one task a device: "
            f"srun --nodes={nodes} --ntasks-per-node={max(devices, 1)} python -m ..."
        )


def _launch_file(folder: str | Path) -> Path:
    """Where the first task of this job's step speaks to the others.

    The variants of an ablation are jobs of an array that share the folder and start together: in
    one file they would write over what another job's tasks have not read, which then wait forever.
    """
    step = ".".join(os.environ.get(name, "0") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    return Path(folder) / f".launch-{step}.json"


def _attempt() -> str:
    """Names this start of the step: a requeued job has the same number and a new count."""
    return os.environ.get("SLURM_RESTART_COUNT", "0")


def tell_followers(folder: str | Path, state: str) -> None:
    """Says, as the first task, that training begins now or that this task has ended."""
    if srun_tasks() > 1 and os.environ.get("SLURM_PROCID") == "0":
        write_json(_launch_file(folder), {"attempt": _attempt(), "state": state})


def wait_for_first(folder: Path, seconds: float = 0.5) -> bool:
    """Waits, as a further task, for the first one; returns False if it ended without training.

    If the first task dies without a word, srun's --kill-on-bad-exit=1 ends this one.
    """
    file, attempt = _launch_file(folder), _attempt()
    while True:
        try:
            said = read_json(file)
        except (OSError, ValueError):
            said = {}
        if said.get("attempt") == attempt:
            return bool(said["state"] == TRAINING)
        time.sleep(seconds)
