"""``launcher=slurm``: looks at what is there, submits what is missing, says where to look."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from experiments.ablation import sweep as ablation
from experiments.ablation.jobs import variant_dir
from experiments.cli.compose import jobs_of, plain
from experiments.cli.folders import CONFIG, dump_config, planned_folder
from experiments.cli.lock import FolderLock
from experiments.cli.srun import srun_tasks
from experiments.launching.chain import dependency, dry_run
from experiments.launching.plan import (
    LOGS,
    Job,
    Situation,
    job_words,
    plan_ablation,
    plan_single,
)
from experiments.launching.record import Alive, Submitted, alive_jobs, read_record, write_record
from experiments.launching.submit import check_installed, submit
from osdface.errors import UserError
from osdface.files import write_text
from osdface.run_folder import is_finished


def launch(cfg: DictConfig, words: Mapping[str, str]) -> int:
    """Submits the jobs of an experiment; returns the exit status.

    Args:
        cfg: The composed and checked configuration.
        words: What it was composed of.

    Raises:
        UserError: The run would fail for want of something, or Slurm refuses.
    """
    if srun_tasks() > 1:
        raise UserError("launcher=slurm submits from one process, not from the tasks of an srun.")
    finished = partial(ablation.all_finished, cfg) if cfg.task == "ablation" else is_finished
    if cfg.slurm.dry_run:
        folder = planned_folder(plain(cfg), finished)
        jobs = _plan(cfg, words, folder, Alive())
        links = [(job.name, job.after, job.text(folder)) for job in jobs]
        print(dry_run(links, "run", folder, cfg.slurm.after))
        return 0
    check_installed("sbatch", "squeue")
    while True:
        folder = planned_folder(plain(cfg), finished)
        record = read_record(folder)
        alive = alive_jobs(record)
        if cfg.task != "ablation" and cfg.experiment in alive.jobs:
            # It may be running, and then holds the folder's lock.
            return _tell(folder, alive, [])
        print("Looking at what is there ...", flush=True)
        jobs = _plan(cfg, words, folder, alive)
        # That took seconds, in which the same command, given twice, may have submitted all.
        again = planned_folder(plain(cfg), finished)
        if again != folder and again.exists():
            continue
        lock = _hold(folder)
        try:
            if read_record(folder) != record:
                continue
            if not (folder / CONFIG).exists():
                write_text(folder / CONFIG, dump_config(plain(cfg) | {"output_dir": str(folder)}))
            # Slurm fails a job without a word when it cannot write its log.
            (folder / LOGS).mkdir(exist_ok=True)
            new = _submit(jobs, folder, record, alive, cfg.slurm.after)
        finally:
            lock.release()
        return _tell(folder, alive, new)


def _hold(folder: Path) -> FolderLock:
    lock = FolderLock(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = lock.acquire()
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}.") from error
    if not held:
        raise UserError(f"Another process is writing into {folder}: wait for it or end it first.")
    return lock


def _plan(cfg: DictConfig, words: Mapping[str, str], folder: Path, alive: Alive) -> list[Job]:
    from experiments.launching import readiness  # only now: it imports torch

    # What an earlier job makes cannot be there yet.
    if not cfg.slurm.after:
        readiness.check_needed(cfg)
    own, names = job_words(words, folder), frozenset(alive.jobs)
    needs_stage1 = cfg.task in readiness.STAGE2 and cfg.mode == "fit"
    if cfg.task != "ablation":
        done = cfg.mode == "fit" and is_finished(folder)
        ready = done or not needs_stage1 or _ready(cfg)
        return plan_single(
            cfg.experiment, own, cfg, Situation(ready=ready, reported=done, alive=names)
        )
    folders = [variant_dir(folder, *job, cfg.seeds) for job in jobs_of(cfg)]
    labels = [str(each.relative_to(folder)) for each in folders]
    done = ablation.all_finished(cfg, folder)
    now = Situation(
        ready=done or _ready(cfg),
        has_references=done or (folder / "references" / "metrics.json").is_file(),
        reported=done,
        finished=frozenset(
            label for label, each in zip(labels, folders, strict=True) if is_finished(each)
        ),
        queued=frozenset(alive.tasks),
        alive=names,
    )
    return plan_ablation(own, cfg, dict(zip(labels, jobs_of(cfg), strict=True)), now)


def _ready(cfg: DictConfig) -> bool:
    from experiments.launching import readiness

    try:
        return readiness.stage1_ready(cfg)
    except UserError:
        # Only with slurm.after, whose job makes what is missing; the first job looks again.
        if not cfg.slurm.after:
            raise
        return cfg.vre.checkpoint is not None


def _submit(
    jobs: list[Job], folder: Path, record: list[Submitted], alive: Alive, after: str | None
) -> list[Submitted]:
    """Submits one job after the other; each is noted at once, since the next may be refused."""
    numbers = {name: list(known) for name, known in alive.jobs.items()}
    new: list[Submitted] = []
    for job in jobs:
        waits = dependency(job.after, numbers, after)
        number = submit(job.text(folder), dependency=waits)
        numbers.setdefault(job.name, []).append(number)
        new.append(Submitted(job.name, number, waits, dict(job.labels)))
        write_record(folder, [*record, *new])
    return new


def _tell(folder: Path, alive: Alive, new: list[Submitted]) -> int:
    """Prints what is queued and what was submitted; the last line is the folder."""
    lines = [f"already queued   {line}" for line in alive.lines]
    for job in new:
        waits = f", after {job.after}" if job.after else ""
        count = f" ({len(job.tasks)} in an array)" if job.tasks else ""
        lines.append(f"submitted        {job.name}: job {job.job}{count}{waits}")
        lines += [
            f"                   {job.job}_{index} {name}" for index, name in job.tasks.items()
        ]
    if alive.lines or new:
        numbers = dict.fromkeys(
            number for own in (*alive.jobs.values(), [job.job for job in new]) for number in own
        )
        lines += [
            f"logs             {folder / LOGS}",
            f"watch            squeue --me --jobs={','.join(numbers)}",
            f"cancel           scancel {' '.join(numbers)}",
            "The same command again submits what has failed or is missing by then.",
        ]
    else:
        lines.append("This run is finished: nothing to do.")
    print("\n".join([*lines, str(folder)]), flush=True)
    return 0
