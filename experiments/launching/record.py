"""``slurm.json`` in a run's folder: which jobs were submitted for it, and which still are."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from experiments.launching.submit import cancel, queued
from osdface.errors import UserError
from osdface.files import read_json, write_json

RECORD = "slurm.json"


@dataclass(frozen=True)
class Submitted:
    """One job that was submitted.

    Attributes:
        name: Of the plan: ``stage1``, ``variants``, ...
        job: Slurm's number.
        after: Its dependency, such as ``afterok:17``.
        tasks: Of an array: what each index trains, such as ``full`` or ``full/seed-1``.
    """

    name: str
    job: str
    after: str | None = None
    tasks: dict[int, str] = field(default_factory=dict)


def read_record(folder: Path) -> list[Submitted]:
    """Returns the jobs that were submitted for a folder, oldest first.

    Raises:
        UserError: The file is broken: what is queued would be submitted twice.
    """
    path = folder / RECORD
    if not path.exists():
        return []
    try:
        return [_read(entry) for entry in read_json(path)["jobs"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} cannot be read: look by squeue whether jobs of this run are queued, then "
            "remove it."
        ) from error


def _read(entry: dict[str, Any]) -> Submitted:
    tasks = {int(index): str(name) for index, name in entry["tasks"].items()}
    return Submitted(str(entry["name"]), str(entry["job"]), entry["after"], tasks)


def write_record(folder: Path, jobs: Sequence[Submitted]) -> None:
    """Writes the jobs of a folder, the one just submitted last.

    If there is no room for it that one is cancelled: the same command would submit it again.
    """
    try:
        write_json(folder / RECORD, {"jobs": [asdict(job) for job in jobs]})
    except OSError:
        cancel(jobs[-1].job)
        raise


@dataclass(frozen=True)
class Alive:
    """The jobs of a folder that wait or run.

    Attributes:
        jobs: Numbers by name of the plan.
        tasks: What array tasks train, with their states: ``{"full": "18_1 RUNNING"}``.
        lines: One for each job and array task, to show.
    """

    jobs: dict[str, list[str]] = field(default_factory=dict)
    tasks: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


def alive_jobs(record: list[Submitted]) -> Alive:
    """Asks squeue which of a folder's jobs wait or run.

    Raises:
        UserError: squeue does not answer.
    """
    states = queued(each.job for each in record)
    alive = Alive()
    for each in record:
        own = {number: state for number, state in states.items() if _is_of(number, each.job)}
        if own:
            alive.jobs.setdefault(each.name, []).append(each.job)
        for number, state in own.items():
            task = each.tasks.get(int(number.partition("_")[2] or -1))
            if task is not None:
                alive.tasks[task] = f"{number} {state}"
            alive.lines.append(f"{task or each.name}: job {number} {state}")
    return alive


def _is_of(number: str, job: str) -> bool:
    return number.partition("_")[0] == job


def _is_of_this_job(record: list[Submitted]) -> bool:
    own = {os.environ.get(name) for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID")}
    return any(each.job in own for each in record)


def refuse_while_queued(folder: Path) -> None:
    """Keeps a run out of a folder that other jobs of Slurm will write into.

    Raises:
        UserError: Some of them wait or run.
    """
    record = read_record(folder)
    if _is_of_this_job(record):
        return
    if record and not shutil.which("squeue"):
        numbers = ", ".join(each.job for each in record)
        print(f"Jobs of Slurm were submitted for this run ({numbers}); there is no squeue here to "
              "see whether they are done.", flush=True)  # fmt: skip
    elif record and (lines := alive_jobs(record).lines):
        more = f" and {len(lines) - 1} more" if lines[1:] else ""
        raise UserError(
            f"Slurm has {lines[0]}{more} for {folder}: wait, cancel them by scancel, or begin "
            "another run by resume=never."
        )
