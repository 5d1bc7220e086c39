"""Slurm's own commands: sbatch and squeue."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from contextlib import suppress

from experiments.cli.srun import in_slurm
from osdface.errors import UserError

_PATIENCE_S = 120
# Where Slurm is and how it knows the user; the others describe a job.
_KEPT = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT")


def check_installed(*names: str) -> None:
    """Raises a :class:`UserError` if a command of Slurm is not there."""
    for name in names:
        if not shutil.which(name):
            raise _absent(name)


def _absent(name: str) -> UserError:
    return UserError(
        f"launcher=slurm needs {name}, which is not on this machine's PATH: submit from a login "
        "node, or look at the scripts by slurm.dry_run=true."
    )


def submit(text: str, *, dependency: str | None = None) -> str:
    """Hands a batch script to sbatch and returns the job's number.

    Args:
        text: The whole script.
        dependency: Such as ``afterok:17``; a job whose dependency can no longer come true is
            cancelled by Slurm.

    Raises:
        UserError: There is no sbatch, or it refuses; the sentence holds its own words.
    """
    words = ["sbatch", "--parsable"]
    if dependency:
        words += [f"--dependency={dependency}", "--kill-on-invalid-dep=yes"]
    told = _run(words, text)
    # "17", or "17;cluster" where there are several.
    number = told.strip().partition(";")[0]
    if not number.isdigit():
        raise UserError(f"sbatch answered {told.strip()!r}, which is no job number.")
    return number


def cancel(number: str) -> None:
    """Cancels a job; should that fail too, the reason for it counts and is told."""
    with suppress(UserError):
        _run(["scancel", number])


def queued(jobs: Iterable[str]) -> dict[str, str]:
    """Returns the states of those jobs that wait or run, by number (``17``, of an array ``17_3``).

    Raises:
        UserError: There is no squeue, or it does not answer.
    """
    wanted = set(jobs)
    if not wanted:
        return {}
    # Not --jobs=: that is an error as soon as one of them is no longer known.
    told = _run(["squeue", "--noheader", "--array", "--me", "--format=%i %T"])
    found = dict(line.split(maxsplit=1) for line in told.splitlines() if line.strip())
    return {job: state for job, state in found.items() if job.partition("_")[0] in wanted}


def _run(words: list[str], text: str | None = None) -> str:
    name = words[0]
    try:
        done = subprocess.run(
            words,
            input=text,
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
        )
    except FileNotFoundError as error:
        raise _absent(name) from error
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{name} did not answer within {_PATIENCE_S} s.") from error
    if done.returncode:
        reason = " ".join(re.sub(rf"^{name}: (error: )?", "", each) for each in _lines(done.stderr))
        raise UserError(f"{name} refused: {reason or f'exit status {done.returncode}'}")
    return done.stdout


def _environment() -> dict[str, str]:
    """This process's environment without the job that it may itself be in, which would leak."""
    return {
        key: value
        for key, value in os.environ.items()
        if not in_slurm() or not key.startswith("SLURM_") or key in _KEPT
    }


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
