"""From the nodes and tasks that are asked of Slurm to the trainer that fits them."""

from collections.abc import Mapping
from typing import Any

from experiments.launching.sbatch import SlurmOptions
from osdface.errors import UserError

_COUNTS = ("gpus_per_node", "tasks_per_node", "cpus_per_task", "array_parallel", "signal_seconds")


def layout_words(cfg: Any, words: Mapping[str, str]) -> dict[str, str]:
    """Returns the words with trainer, devices and nodes as ``slurm.*`` asks for them.

    Args:
        cfg: The configuration that ``words`` compose.
        words: The user's; a trainer among them stays.

    Raises:
        UserError: A number is out of range, or a word about the trainer contradicts it.
    """
    if cfg.slurm.nodes < 1:
        raise UserError(f"slurm.nodes={cfg.slurm.nodes} is wrong: at least 1.")
    for name in _COUNTS:
        if cfg.slurm[name] < 0:
            raise UserError(f"slurm.{name}={cfg.slurm[name]} is wrong: at least 0.")
    options = SlurmOptions.from_config(cfg.slurm)
    if options.gpus_per_node and options.tasks_per_node != options.gpus_per_node:
        raise UserError(
            f"slurm.tasks_per_node={options.tasks_per_node} does not fit slurm.gpus_per_node="
            f"{options.gpus_per_node}: a process has one GPU; leave slurm.tasks_per_node= out."
        )
    found = {"trainer": _trainer(options), **words}
    for key, number, source in (
        ("trainer.num_nodes", options.nodes, "slurm.nodes"),
        ("trainer.devices", options.tasks_per_node, "slurm.gpus_per_node or slurm.tasks_per_node"),
    ):
        if words.get(key, str(number)) != str(number):
            raise UserError(
                f"{key}={words[key]} contradicts {source}, which makes it {number}: with "
                f"launcher=slurm leave {key}= out."
            )
        found[key] = str(number)
    return found


def _trainer(options: SlurmOptions) -> str:
    if options.gpus_per_node:
        return "ddp" if options.tasks > 1 else "gpu"
    return "ddp_sim" if options.tasks > 1 else "cpu"


def check_layout(cfg: Any) -> None:
    """Raises a :class:`UserError` if the trainer cannot use what is asked of Slurm."""
    if cfg.trainer.accelerator == "cpu" and cfg.slurm.gpus_per_node:
        raise UserError(
            f"slurm.gpus_per_node={cfg.slurm.gpus_per_node} asks for GPUs that this trainer leaves "
            "idle: leave trainer= out, or take trainer=ddp (trainer=gpu for one)."
        )
    if cfg.part != "all":
        raise UserError(f"launcher=slurm plans the parts itself: leave part={cfg.part} out.")
