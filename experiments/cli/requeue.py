"""Putting the Slurm job that this process runs in back into the queue."""

import os
import subprocess

_PATIENCE_S = 30


def job_id() -> str:
    """Returns this job's number for scontrol; of an array, that of this one task."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    if array and (task := os.environ.get("SLURM_ARRAY_TASK_ID")):
        return f"{array}_{task}"
    return os.environ["SLURM_JOB_ID"]


def requeue() -> tuple[bool, str]:
    """Asks Slurm to run the job again; returns whether it will, and a sentence that says so."""
    job = job_id()
    try:
        done = subprocess.run(
            ["scontrol", "requeue", job], capture_output=True, text=True, timeout=_PATIENCE_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        why = "there is no scontrol here" if isinstance(error, FileNotFoundError) else str(error)
    else:
        if done.returncode == 0:
            return True, f"Slurm job {job} is requeued and goes on by itself."
        why = (done.stderr.strip() or f"status {done.returncode}").splitlines()[-1]
    return False, f"Slurm job {job} could not be requeued ({why}): submit the same command again."
