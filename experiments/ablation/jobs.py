"""One run that keeps its own books: status, duration, reason of failure."""

import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from experiments.cli import tasks
from experiments.cli.compose import plain
from experiments.cli.folders import dump_config
from experiments.cli.lock import FolderLock
from experiments.cli.ranks import is_follower
from experiments.cli.signals import watch
from experiments.cli.variants import METHOD_GROUP, group_of
from osdface.errors import disk_full
from osdface.files import write_json, write_text
from osdface.run_folder import interruption, is_finished, one_line, read_status, update_status


def variant_dir(output_dir: Path, variant: str, seed: int, seeds: Any) -> Path:
    """Returns ``<variant>``, with several seeds ``<variant>/seed-<k>``."""
    folder = output_dir / variant
    return folder / f"seed-{seed}" if seeds is not None and len(seeds) > 1 else folder


def with_status(folder: Path, run: Callable[[], Any]) -> Any:
    """Runs ``run()`` and writes status.json before and after; errors go on to the caller.

    The seconds of earlier attempts are counted in. Ctrl-C or a signal leaves ``running`` with a
    reason: the next start goes on.
    """
    if is_follower():
        return run()
    before = float(read_status(folder).get("seconds", 0.0))
    start = time.monotonic()
    (folder / "error.txt").unlink(missing_ok=True)
    update_status(folder, status="running", reason=None)
    try:
        result = run()
    except Exception as error:
        seconds = before + time.monotonic() - start
        trace, reason = traceback.format_exc(), one_line(error)
        # On a full disk this fails too and would hide the error itself.
        with suppress(OSError):
            update_status(folder, status="failed", reason=reason, seconds=round(seconds, 1))
        with suppress(OSError):
            write_text(folder / "error.txt", trace)
        raise
    except BaseException as error:
        seconds = before + time.monotonic() - start
        reason = interruption(error)
        with suppress(OSError):
            update_status(folder, status="running", reason=reason, seconds=round(seconds, 1))
        raise
    seconds = before + time.monotonic() - start
    update_status(folder, status="finished", reason=None, seconds=round(seconds, 1))
    return result


def run_variant(cfg: DictConfig, folder: Path) -> bool:
    """Trains one variant in this process; returns False if it failed, with the reason on disk.

    It holds the variant's folder meanwhile: what holds the ablation's does not keep out parts that
    were started one by one, by hand or by a batch system. One that is held is left alone.
    """
    if is_follower():
        return _train_variant(cfg, folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(folder)
    if not lock.acquire():
        told = f"Another process is training {folder}: wait for it or end it first."
        print(told, file=sys.stderr, flush=True)
        return False
    try:
        return is_finished(folder) or _train_variant(cfg, folder)
    finally:
        lock.release()


def _train_variant(cfg: DictConfig, folder: Path) -> bool:
    def train() -> None:
        if not is_follower():
            write_text(folder / "config.yaml", dump_config(plain(cfg)))
        of_methods = group_of(cfg.experiment) == METHOD_GROUP
        metrics = tasks.load(f"ablation.{'method' if of_methods else 'variant'}")(cfg, folder)
        if not is_follower():
            write_json(folder / "metrics.json", metrics)

    try:
        with_status(folder, train)
    except Exception as error:
        # A full disk fails the other variants too, and takes no note of a reason.
        if is_follower() or disk_full(error):
            raise
        return False
    return True


def run_single(cfg: DictConfig, folder: Path) -> int:
    """Runs an experiment of one job; its errors pass, since nothing else depends on it."""
    if cfg.mode == "fit" and is_finished(folder) and not is_follower():
        print("This run is finished: nothing to do.")
        return 0
    task = cfg.task if cfg.mode == "fit" else f"{cfg.task}.evaluate"

    def work() -> dict[str, float]:
        metrics = tasks.load(task)(cfg, folder)
        if metrics and not is_follower():
            write_json(folder / "metrics.json", metrics)
        return metrics

    try:
        metrics = with_status(folder, work)
    finally:
        # Also after an error or Ctrl-C: what is on disk is worth a look. A signal leaves no time,
        # a full disk no room.
        if not is_follower() and not watch.leaving and not disk_full(sys.exception()):
            _write_page(folder)
    if cfg.mode != "fit" and not is_follower():
        print("  ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
    return 0


def _write_page(folder: Path) -> None:
    """Writes ``report.html``; a fault in it must hide neither the run's result nor its error."""
    from experiments.reporting.page import write_page  # only now: it imports torch

    try:
        write_page(folder)
    except Exception as error:
        print(f"{folder / 'report.html'} could not be written: {one_line(error)}", file=sys.stderr)
