"""The command line as a function: from words to a finished folder and an exit status."""

import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from experiments.ablation import sweep as ablation
from experiments.ablation.closing import closing_lines
from experiments.ablation.jobs import run_single
from experiments.cli import tasks
from experiments.cli.checks import check
from experiments.cli.compose import compose_words, plain, variants_of
from experiments.cli.environment import describe, git_commit
from experiments.cli.folders import CONFIG, choose_folder, dump_config
from experiments.cli.lock import FolderLock
from experiments.cli.parent import watch_parent
from experiments.cli.ranks import is_follower
from experiments.cli.srun import ENDED, check_srun, srun_tasks, tell_followers, wait_for_first
from experiments.cli.sweep import hydra_sweep
from experiments.cli.values import escaped, to_hydra
from experiments.cli.variants import group_of
from experiments.cli.words import parse_words, to_argv
from experiments.launching.layout import check_layout, layout_words
from experiments.launching.main import launch
from experiments.launching.record import refuse_while_queued
from osdface.errors import UserError
from osdface.files import read_json, write_json, write_text
from osdface.run_folder import is_finished

ENVIRONMENT = "environment.json"


def run(argv: list[str]) -> int:
    """Runs the words of a command line; returns the exit status.

    Raises:
        UserError: The command is wrong, or a task says that something the user gave is.
    """
    # Of the processes of one run on one machine the second one tells that the first is gone.
    watch_parent(tell=os.environ.get("LOCAL_RANK", "1") == "1")
    printing = "--config" in argv
    words = parse_words(word for word in argv if word != "--config")
    cfg, overrides = compose_words(words)
    if cfg.launcher == "slurm":
        words = layout_words(cfg, words)
        cfg, overrides = compose_words(words)
        check_layout(cfg)
    check(cfg, words)
    if cfg.task == "ablation":
        # config.yaml names the variants one by one, and `default` resumes a run of the same list.
        cfg.variants = variants_of(cfg.variants, group_of(cfg.experiment))
    if printing:
        print(dump_config(plain(cfg)), end="")
        return 0
    if cfg.launcher == "slurm":
        return launch(cfg, words)
    check_srun(cfg)
    folder, lock = _open_folder(cfg, words, argv)
    cfg.output_dir = escaped(str(folder))
    overrides = [each for each in overrides if not each.startswith(("output_dir=", "resume="))]
    overrides.append(f"output_dir={to_hydra(str(folder))}")
    if srun_tasks() > 1 and is_follower() and not wait_for_first(folder):
        return 0
    try:
        return _run_in(folder, cfg, words, overrides)
    finally:
        tell_followers(folder, ENDED)
        if lock:
            lock.release()
        if not is_follower() and cfg.part == "all":
            print("\n".join(closing_lines(folder)), flush=True)


def _open_folder(
    cfg: DictConfig, words: Mapping[str, str], argv: list[str]
) -> tuple[Path, FolderLock | None]:
    """The run's folder, with config.yaml and environment.json, locked by its first process."""
    if is_follower() or cfg.part in ("variant", "gather"):
        # The first process, or the job before this one, has chosen and prepared it.
        if not cfg.output_dir:
            raise UserError("A process of a distributed run needs output_dir=, the same in each.")
        folder = Path(cfg.output_dir).absolute()
        if not is_follower() and not (folder / CONFIG).exists():
            raise UserError(f"{folder} holds no {CONFIG}: run part=prepare there first.")
        return folder, None
    config = plain(cfg)
    finished = partial(ablation.all_finished, cfg) if cfg.task == "ablation" else is_finished
    # The process that started part=prepare holds the lock for it.
    folder, lock, goes_on = choose_folder(config, finished, locked=cfg.part != "prepare")
    try:
        if cfg.part == "all":
            refuse_while_queued(folder)
    except UserError:
        if lock:
            lock.release()
        raise
    if not goes_on:
        config["output_dir"] = str(folder)
        write_text(folder / CONFIG, dump_config(config))
    elif lock:
        _tell_resumed(folder)
    # Of a submitted run, which has its folder already, the first job tells what it runs on.
    if not (folder / ENVIRONMENT).exists():
        write_json(folder / ENVIRONMENT, describe(argv))
    return folder, lock


def _tell_resumed(folder: Path) -> None:
    print(f"Going on in {folder} (resume=never begins anew).", flush=True)
    try:
        before, now = read_json(folder / ENVIRONMENT)["git_commit"], git_commit()
    except (OSError, ValueError, KeyError):
        return
    if before != now:
        print(f"  It was begun with the code of {before}; this is {now}.", flush=True)


def _run_in(folder: Path, cfg: DictConfig, words: Mapping[str, str], overrides: list[str]) -> int:
    if cfg.task == "ablation":
        job = partial(ablation.run_job, words=words, output_dir=folder)
        sweep = partial(hydra_sweep, overrides, job)
    # Lightning's DDP repeats sys.argv in its further processes: they must come to this folder.
    own = sys.argv
    again = {key: text for key, text in words.items() if key != "resume"}
    sys.argv = [own[0], *to_argv(again | {"output_dir": str(folder)})]
    try:
        if cfg.task == "ablation":
            return ablation.run_ablation(cfg, words, folder, sweep)
        if cfg.part == "prepare":
            # Stage 1 as a job of its own, before that of stage 2.
            tasks.load("ablation.prepare")(cfg, folder)
            return 0
        # A single run needs nothing of Hydra but the configuration; under Hydra's own job
        # context Lightning would repeat a command line of Hydra's.
        return run_single(cfg, folder)
    finally:
        sys.argv = own
