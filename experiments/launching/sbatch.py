"""Batch scripts as text: a header, the environment, then one srun line."""

import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.cli.words import to_argv
from osdface.errors import UserError

# What follows the mapping of array_cases on a line of srun_line.
ARRAY_WORDS = '"${job[@]}"'

_PREAMBLE = """\
set -eo pipefail
{environment}set -u

# PyTorch would take every core for every task.
export OMP_NUM_THREADS="${{OMP_NUM_THREADS:-${{SLURM_CPUS_PER_TASK:-1}}}}"
# Since Slurm 22.05 srun does not inherit --cpus-per-task from sbatch.
[ -z "${{SLURM_CPUS_PER_TASK:-}}" ] || export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"
"""


@dataclass(frozen=True)
class SlurmOptions:
    """What a job asks of Slurm; the keys below ``slurm`` in the configuration.

    Attributes:
        partition: Of sbatch, as are account and qos; None leaves the cluster's default.
        nodes: Number of nodes.
        gpus_per_node: GPUs on each node; 0 asks for none.
        tasks_per_node: Processes on each node, one a device.
        cpus_per_task: Cores of each process; 0 leaves it to the cluster.
        memory: Of each node, as sbatch takes it: ``64G``.
        time: Limit, as sbatch takes it: ``24:00:00``.
        environment: Shell line that makes ``python`` the right one. None, without a prefix: the
            interpreter that submits.
        prefix: Shell words before ``python``, such as a container.
        extra: Further options of sbatch, such as ``--exclude=node7``.
        signal_seconds: How long before the time limit the job gets SIGUSR1; 0: not at all.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    nodes: int = 1
    gpus_per_node: int = 0
    tasks_per_node: int = 1
    cpus_per_task: int = 0
    memory: str | None = None
    time: str | None = None
    environment: str | None = None
    prefix: str | None = None
    extra: tuple[str, ...] = ()
    signal_seconds: int = 120

    @classmethod
    def from_config(cls, slurm: Any) -> "SlurmOptions":
        """Returns the options of ``cfg.slurm``; keys that are none of a job's are left out.

        Raises:
            UserError: ``extra`` holds a quote that is not closed.
        """
        found = {name: slurm[name] for name in cls.__dataclass_fields__ if name in slurm}
        found["tasks_per_node"] = slurm["tasks_per_node"] or slurm["gpus_per_node"] or 1
        found["extra"] = _split("slurm.extra", slurm["extra"])
        if slurm["prefix"]:
            _split("slurm.prefix", slurm["prefix"])
        return cls(**found)

    @property
    def tasks(self) -> int:
        """Processes on all nodes."""
        return self.nodes * self.tasks_per_node

    @property
    def python(self) -> str:
        """Shell words that start Python on a node."""
        if self.prefix:
            return f"{self.prefix} python"
        return "python" if self.environment else shlex.quote(sys.executable)


def _split(key: str, text: str | None) -> tuple[str, ...]:
    """The words of a shell text."""
    try:
        return tuple(shlex.split(text or ""))
    except ValueError as error:
        raise UserError(f"{key}={text} is wrong: {error}.") from None


def script(
    name: str,
    body: Sequence[str],
    options: SlurmOptions,
    *,
    log_folder: Path,
    array: str | None = None,
) -> str:
    """Returns a whole batch script.

    Args:
        name: Of the job and of its log.
        body: Shell lines after the environment; the last one usually is :func:`srun_line`.
        options: What the job asks for.
        log_folder: Absolute; must exist when the job starts, or Slurm fails it without a word.
        array: Indices as sbatch takes them, see :func:`array_indices`; None is a single job.
    """
    log = _pattern(log_folder) + "/" + _pattern(name) + ("-%A_%a.out" if array else "-%j.out")
    header = {
        "job-name": name,
        "partition": options.partition,
        "account": options.account,
        "qos": options.qos,
        "nodes": options.nodes,
        "ntasks-per-node": options.tasks_per_node,
        "gpus-per-node": options.gpus_per_node or None,
        "cpus-per-task": options.cpus_per_task or None,
        "mem": options.memory,
        "time": options.time,
        "array": array,
        "chdir": Path.cwd(),
        "output": log,
        "signal": f"USR1@{options.signal_seconds}" if options.signal_seconds else None,
    }
    given = [f"--{key}={text}" for key, text in header.items() if text is not None]
    lines = [*given, "--requeue", "--open-mode=append", *options.extra]
    environment = f"{options.environment}\n" if options.environment else ""
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH {header_word(line)}" for line in lines),
            "",
            _PREAMBLE.format(environment=environment),
            *body,
            "",
        ]
    )


def header_word(text: str) -> str:
    """Returns an option as sbatch reads it in a ``#SBATCH`` line, quoted where it has to be.

    Raises:
        UserError: It holds a line break.
    """
    if "\n" in text:
        raise UserError(f"{text!r} holds a line break, which no option in a batch script can.")
    if not re.search(r"[\\\s\"'#]", text):
        return text
    key, equals, value = text.partition("=")
    quoted = re.sub(r"([\\\"])", r"\\\1", value)
    return f'{key}{equals}"{quoted}"'


def _pattern(path: Path | str) -> str:
    """A path as text for ``--output``, where a percent sign starts a replacement."""
    return str(path).replace("%", "%%")


def srun_line(
    words: Mapping[str, str],
    options: SlurmOptions,
    *,
    more: str = "",
    module: str = "experiments.run",
) -> str:
    """Returns the line that starts a command as one task a device and ends the script with it.

    Args:
        words: The command's words.
        options: The job's.
        more: Shell text behind the words, such as :data:`ARRAY_WORDS`.
        module: The command.
    """
    quoted = shlex.join(to_argv(words))
    # --kill-on-bad-exit=1: when one task dies, the others end at once and do not wait for it.
    line = f"exec srun --kill-on-bad-exit=1 {options.python} -m {module} {quoted} {more}"
    return line.rstrip()


def array_cases(jobs: Mapping[int, Mapping[str, str]]) -> list[str]:
    """Returns shell lines that put the words of this array task into :data:`ARRAY_WORDS`.

    Args:
        jobs: The words of each index.
    """
    cases = [f"{index}) job=({shlex.join(to_argv(words))}) ;;" for index, words in jobs.items()]
    return ['case "$SLURM_ARRAY_TASK_ID" in', *cases, "esac"]


def array_indices(indices: Iterable[int], parallel: int | None = None) -> str:
    """Returns indices as sbatch takes them, ``0-2,5%4``.

    Args:
        indices: Of the array's tasks.
        parallel: How many run at a time; None: all.
    """
    runs: list[list[int]] = []
    for index in sorted(set(indices)):
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    text = ",".join(f"{low}-{high}" if low < high else str(low) for low, high in runs)
    return f"{text}%{parallel}" if parallel else text
