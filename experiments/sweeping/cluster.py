"""``launcher=slurm``: one job a trial in an array, then one that writes the tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.cli.compose import compose_words
from experiments.launching.chain import dependency, dry_run
from experiments.launching.layout import check_layout, layout_words
from experiments.launching.plan import LOGS
from experiments.launching.record import Alive, Submitted, alive_jobs, read_record, write_record
from experiments.launching.sbatch import (
    ARRAY_WORDS,
    SlurmOptions,
    array_cases,
    array_indices,
    script,
    srun_line,
)
from experiments.launching.submit import check_installed, submit
from experiments.sweeping import books
from experiments.sweeping.books import Book
from experiments.sweeping.definition import Definition
from experiments.sweeping.options import Options
from experiments.sweeping.trials import Trial, trial, trial_words
from osdface.errors import UserError

STAGE1, TRIALS, GATHER = "stage1", "trials", "gather"


@dataclass(frozen=True)
class Job:
    """A job of a sweep: its script, what it waits for, and what each task of an array runs."""

    name: str
    text: str
    after: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[int, str] = field(default_factory=dict)


def slurm_configuration(words: Mapping[str, str], options: Options) -> tuple[Any, dict[str, str]]:
    """Returns a trial's configuration under Slurm, and its words with trainer and devices set.

    Raises:
        UserError: What is asked of Slurm and the trainer do not fit.
    """
    if options["parallel"] != 1 or options.gpus:
        raise UserError(
            "parallel= and gpus= are for launcher=local: slurm.array_parallel=N limits the trials "
            "at a time, slurm.gpus_per_node=N gives each its GPUs."
        )
    own = {**words, "launcher": "slurm", **options.slurm}
    cfg, _ = compose_words(own)
    own = layout_words(cfg, own)
    cfg, _ = compose_words(own)
    check_layout(cfg)
    return cfg, {k: v for k, v in own.items() if k != "launcher" and not k.startswith("slurm.")}


def ask(definition: Definition, options: Options) -> tuple[Any, dict[str, str]]:
    """Returns a trial's configuration under Slurm, and the words that fit its trainer to it.

    Raises:
        UserError: What is asked of Slurm and the trainer do not fit.
    """
    first = trial(definition, 1, options["draw_seed"])
    words = trial_words(definition, first, options.further, Path.cwd())
    cfg, own = slurm_configuration(words, options)
    return cfg, {key: text for key, text in own.items() if words.get(key) != text}


def launch(book: Book, cfg: Any, layout: Mapping[str, str], again: Sequence[str]) -> int:
    """Submits the trials that are neither finished nor queued, and the gathering.

    Args:
        book: The sweep; its folder need not be there for a dry run.
        cfg: A trial's configuration, as :func:`ask` returns it, and
        layout: the words beside it.
        again: The words of the gathering job.

    Returns:
        The exit status.
    """
    if cfg.slurm.dry_run:
        jobs = plan(book, cfg, layout, Alive(), again)
        links = [(job.name, job.after, job.text) for job in jobs]
        print(dry_run(links, "sweep", book.folder, cfg.slurm.after))
        return 0
    check_installed("sbatch", "squeue")
    record = read_record(book.folder)
    alive = alive_jobs(record)
    jobs = plan(book, cfg, layout, alive, again)
    # Slurm fails a job without a word when it cannot write its log.
    (book.folder / LOGS).mkdir(exist_ok=True)
    new: list[Submitted] = []
    numbers = {name: list(known) for name, known in alive.jobs.items()}
    for job in jobs:
        waits = dependency(job.after, numbers, cfg.slurm.after)
        number = submit(job.text, dependency=waits)
        numbers.setdefault(job.name, []).append(number)
        new.append(Submitted(job.name, number, waits, dict(job.labels)))
        write_record(book.folder, [*record, *new])
        for each in book.trials():
            if each.name in job.labels.values():
                books.note(book.folder, each, None)
    print("\n".join(_told(book.folder, alive, new)), flush=True)
    return 0


def plan(
    book: Book, cfg: Any, layout: Mapping[str, str], alive: Alive, again: Sequence[str]
) -> list[Job]:
    """Returns the jobs: stage 1 where the trials lack it, the array, the gathering.

    Args:
        book: The sweep.
        cfg: A trial's configuration.
        layout: Words that fit the trainer to what is asked of Slurm.
        alive: What waits or runs.
        again: The words of the gathering job.
    """
    words = {
        each.number: {**layout, **_words(book, each)}
        for each in book.trials()
        if not books.is_done(book, each) and each.name not in alive.tasks
    }
    if not words:
        return []
    asked = SlurmOptions.from_config(cfg.slurm)
    jobs = []
    if STAGE1 not in alive.jobs and not _ready(cfg):
        first = next(iter(words.values()))
        prepare = srun_line({**first, "part": "prepare"}, asked)
        jobs.append(Job(STAGE1, script(STAGE1, [prepare], asked, log_folder=book.folder / LOGS)))
    waits = {STAGE1: "afterok"} if jobs or STAGE1 in alive.jobs else {}
    labels = {each.number: each.name for each in book.trials() if each.number in words}
    text = _array(words, asked, cfg.slurm.array_parallel, book.folder / LOGS)
    jobs.append(Job(TRIALS, text, waits, labels))
    return [*jobs, Job(GATHER, gather_text(book.folder, cfg, again), {TRIALS: "afterany"})]


def gather_text(folder: Path, cfg: Any, again: Sequence[str]) -> str:
    """Returns the batch script of the job that writes the tables: one process, no GPU.

    Args:
        folder: The sweep's.
        cfg: A trial's configuration.
        again: The command's words.
    """
    asked = SlurmOptions.from_config(cfg.slurm)
    partition = cfg.slurm.gather_partition or asked.partition
    light = replace(asked, nodes=1, tasks_per_node=1, gpus_per_node=0, partition=partition)
    words = dict(word.split("=", 1) for word in again)
    line = srun_line(words, light, module="experiments.sweep")
    return script(GATHER, [line], light, log_folder=folder / LOGS)


def _array(
    words: Mapping[int, Mapping[str, str]], asked: SlurmOptions, parallel: int, logs: Path
) -> str:
    """The batch script of the trials: what all share on the srun line, the rest by index."""
    first = next(iter(words.values()))
    common = {
        key: text
        for key, text in first.items()
        if all(own.get(key) == text for own in words.values())
    }
    tasks = {
        number: {key: text for key, text in own.items() if common.get(key) != text}
        for number, own in words.items()
    }
    body = [*array_cases(tasks), srun_line(common, asked, more=ARRAY_WORDS)]
    array = array_indices(tasks, parallel)
    return script(TRIALS, body, asked, log_folder=logs, array=array)


def _words(book: Book, chosen: Trial) -> dict[str, str]:
    return trial_words(book.definition, chosen, book.further, book.folder)


def _ready(cfg: Any) -> bool:
    from experiments.launching import readiness  # only now: it imports torch

    # What an earlier job makes cannot be there yet.
    if not cfg.slurm.after:
        readiness.check_needed(cfg)
    try:
        return cfg.task not in readiness.STAGE2 or readiness.stage1_ready(cfg)
    except UserError:
        if not cfg.slurm.after:
            raise
        return cfg.vre.checkpoint is not None


def _told(folder: Path, alive: Alive, new: Sequence[Submitted]) -> list[str]:
    lines = [f"already queued   {line}" for line in alive.lines]
    for job in new:
        waits = f", after {job.after}" if job.after else ""
        count = f" ({len(job.tasks)} in an array)" if job.tasks else ""
        lines.append(f"submitted        {job.name}: job {job.job}{count}{waits}")
    if alive.lines or new:
        known = [*alive.jobs.values(), *([job.job] for job in new)]
        numbers = dict.fromkeys(number for own in known for number in own)
        lines += [
            f"logs             {folder / LOGS}",
            f"watch            squeue --me --jobs={','.join(numbers)}",
            f"cancel           scancel {' '.join(numbers)}",
            "The same command again submits what has failed or is missing by then.",
        ]
    else:
        lines.append("All trials are finished: nothing to do.")
    return [*lines, str(folder)]
