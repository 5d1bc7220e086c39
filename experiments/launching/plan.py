"""The jobs of an experiment: what each one runs, how large it is, and what it waits for."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.launching.sbatch import (
    ARRAY_WORDS,
    SlurmOptions,
    array_cases,
    array_indices,
    script,
    srun_line,
)

STAGE1, REFERENCES, VARIANTS, GATHER = "stage1", "references", "variants", "gather"
LOGS = "slurm"
# Enough to draw tables and pictures.
_LIGHT_MEMORY = "8G"


@dataclass(frozen=True)
class Job:
    """One job of the plan.

    Attributes:
        name: Of the job, its log and its entry in the record.
        words: Of ``experiments.run``.
        options: What it asks of Slurm.
        after: Name of another job -> ``afterok`` (it succeeded) or ``afterany`` (it ended).
        tasks: Of an array: further words of each index.
        labels: Of an array: what each index trains.
    """

    name: str
    words: Mapping[str, str]
    options: SlurmOptions
    after: Mapping[str, str] = field(default_factory=dict)
    tasks: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    labels: Mapping[int, str] = field(default_factory=dict)
    parallel: int = 0

    def text(self, folder: Path) -> str:
        """Returns the batch script; ``folder`` is the run's."""
        more = ARRAY_WORDS if self.tasks else ""
        body = array_cases(self.tasks) if self.tasks else []
        array = array_indices(self.tasks, self.parallel) if self.tasks else None
        lines = [*body, srun_line(self.words, self.options, more=more)]
        return script(self.name, lines, self.options, log_folder=folder / LOGS, array=array)


@dataclass(frozen=True)
class Situation:
    """What is there when the jobs are planned.

    Attributes:
        ready: Stage 2 can begin: stage 1 is given or cached.
        has_references: The rows that variants are held against are written.
        reported: The tables are written and nothing is left to do.
        finished: Variants that are finished, as their folders are called.
        queued: Variants that wait or run.
        alive: Names of jobs that wait or run.
    """

    ready: bool = True
    has_references: bool = True
    reported: bool = False
    finished: frozenset[str] = frozenset()
    queued: frozenset[str] = frozenset()
    alive: frozenset[str] = frozenset()


def job_words(words: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Returns the words that all jobs of a run share."""
    own = {
        key: text
        for key, text in words.items()
        if key not in ("resume", "launcher") and not key.startswith("slurm.")
    }
    return {**own, "output_dir": str(folder)}


def plan_single(name: str, words: Mapping[str, str], cfg: Any, now: Situation) -> list[Job]:
    """Returns the jobs of one run: stage 1 where stage 2 lacks it, then the run.

    Args:
        name: The experiment's.
        words: As :func:`job_words` makes them.
        cfg: The configuration.
        now: What is there.
    """
    if now.alive & {name} or now.reported:
        return []
    options = SlurmOptions.from_config(cfg.slurm)
    run = Job(name, words, options)
    if now.ready and STAGE1 not in now.alive:
        return [run]
    before = [] if STAGE1 in now.alive else [_stage1(words, options)]
    return [*before, replace(run, after={STAGE1: "afterok"})]


def plan_ablation(
    words: Mapping[str, str],
    cfg: Any,
    variants: Mapping[str, tuple[str, int]],
    now: Situation,
) -> list[Job]:
    """Returns the jobs of an ablation: what variants share, an array of variants, gathering.

    Args:
        words: As :func:`job_words` makes them.
        cfg: The configuration.
        variants: Variant and seed by the name of their folder, in the order of the sweep, whose
            numbers are the array's.
        now: What is there.
    """
    options = SlurmOptions.from_config(cfg.slurm)
    light = replace(options, nodes=1, tasks_per_node=1)
    numbered = {
        number: label
        for number, label in enumerate(variants)
        if label not in now.finished | now.queued
    }
    jobs: list[Job] = []
    if not now.ready and len(now.finished) < len(variants):
        if STAGE1 not in now.alive:
            jobs.append(_stage1(words, options))
    elif not now.has_references and not now.alive & {STAGE1, REFERENCES}:
        # Stage 1 is there: one process scores the rest, and the variants need not wait for it.
        gpus = min(options.gpus_per_node, 1)
        jobs.append(_stage1(words, replace(light, gpus_per_node=gpus), REFERENCES))
    known = now.alive | {job.name for job in jobs}
    if numbered:
        jobs.append(
            Job(
                VARIANTS,
                {**words, "part": "variant"},
                options,
                {STAGE1: "afterok"} if STAGE1 in known else {},
                {
                    number: {"variant": variants[label][0], "seed": str(variants[label][1])}
                    for number, label in numbered.items()
                },
                numbered,
                cfg.slurm.array_parallel,
            )
        )
    if jobs or not (now.reported or GATHER in now.alive):
        jobs.append(_gather(words, cfg, light, known | {job.name for job in jobs}))
    return jobs


def _stage1(words: Mapping[str, str], options: SlurmOptions, name: str = STAGE1) -> Job:
    return Job(name, {**words, "part": "prepare"}, options)


def _gather(words: Mapping[str, str], cfg: Any, light: SlurmOptions, known: frozenset[str]) -> Job:
    options = replace(
        light,
        gpus_per_node=0,
        memory=_LIGHT_MEMORY if light.memory else None,
        partition=cfg.slurm.gather_partition or light.partition,
    )
    after = {name: "afterany" for name in (STAGE1, REFERENCES, VARIANTS) if name in known}
    return Job(GATHER, {**words, "part": "gather"}, options, after)
