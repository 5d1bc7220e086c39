"""The ablation as a whole: prepare, one job per variant and seed, gather."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from omegaconf import DictConfig

from experiments.ablation.closing import table
from experiments.ablation.jobs import run_variant, variant_dir
from experiments.ablation.processes import part_words, run_variant_apart, run_words
from experiments.cli import tasks
from experiments.cli.compose import jobs_of
from experiments.cli.ranks import is_follower, several_devices
from experiments.cli.signals import Interrupted
from osdface.run_folder import is_finished, one_line

REPORT = "ablation.csv"


def folders_of(cfg: DictConfig, output_dir: Path) -> dict[str, Path]:
    """Returns the folder of every job, by its name below the output folder."""
    folders = [variant_dir(output_dir, *job, cfg.seeds) for job in jobs_of(cfg)]
    return {str(folder.relative_to(output_dir)): folder for folder in folders}


def all_finished(cfg: DictConfig, output_dir: Path) -> bool:
    """True if every job is finished and the report is written."""
    folders = folders_of(cfg, output_dir).values()
    return all(map(is_finished, folders)) and (output_dir / REPORT).exists()


def run_job(cfg: DictConfig, words: Mapping[str, str], output_dir: Path) -> None:
    """Runs one job of the sweep: the function that Hydra calls with each configuration."""
    folder = variant_dir(output_dir, cfg.variant, cfg.seed, cfg.seeds)
    jobs = jobs_of(cfg)
    job = (cfg.variant, cfg.seed)
    print(f"[{jobs.index(job) + 1}/{len(jobs)}] {folder.relative_to(output_dir)}", flush=True)
    if is_finished(folder):
        print("  finished before: skipped", flush=True)
        return
    if several_devices(cfg):
        succeeded = run_variant_apart(part_words(words, output_dir, "variant", job), folder)
    else:
        succeeded = run_variant(cfg, folder)
    if not succeeded:
        print("\n".join(f"  {line}" for line in table({cfg.variant: folder})), file=sys.stderr)


def prepare(cfg: DictConfig, words: Mapping[str, str], output_dir: Path) -> int:
    """Makes what all variants share; returns an exit status."""
    if several_devices(cfg) and cfg.part == "all":
        return run_words(part_words(words, output_dir, "prepare"))
    tasks.load("ablation.prepare")(cfg, output_dir)
    return 0


def gather(cfg: DictConfig, output_dir: Path) -> int:
    """Writes tables and pictures from what is on disk; returns 1 if a job is not finished."""
    folders = folders_of(cfg, output_dir)
    failed = not all(map(is_finished, folders.values()))
    if any(folder.exists() for folder in folders.values()):
        try:
            tasks.load("ablation.report")(output_dir)
        except Exception as error:
            # A fault in a picture must not hide which variants are there.
            print(f"The report could not be written: {one_line(error)}", file=sys.stderr)
            failed = True
    print("\n".join(table(folders)))
    return int(failed)


def run_ablation(
    cfg: DictConfig, words: Mapping[str, str], output_dir: Path, sweep: Callable[[], None]
) -> int:
    """Runs the part of the ablation that ``cfg.part`` names; returns an exit status.

    Args:
        cfg: The composed configuration.
        words: The user's words, for processes of their own.
        output_dir: The ablation's folder, absolute.
        sweep: Runs Hydra's sweep, which calls :func:`run_job` for each job.
    """
    if cfg.part == "prepare":
        return prepare(cfg, words, output_dir)
    if cfg.part == "variant":
        folder = variant_dir(output_dir, cfg.variant, cfg.seed, cfg.seeds)
        return int(not run_variant(cfg, folder))
    if cfg.part == "gather":
        return 0 if is_follower() else gather(cfg, output_dir)
    done = all(map(is_finished, folders_of(cfg, output_dir).values()))
    try:
        code = 0 if done else prepare(cfg, words, output_dir)
        if code == 0:
            sweep()
    except Interrupted:
        raise  # it leaves no time for tables and pictures
    except BaseException:
        # Also after Ctrl-C or an error between two jobs: what is on disk is worth a table.
        gather(cfg, output_dir)
        raise
    gathered = gather(cfg, output_dir)
    return code or gathered
