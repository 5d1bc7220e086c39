"""One training run: trainer, callbacks, logs, checkpoints, resume."""

import logging
import os
import platform
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments import ClusterEnvironment, LightningEnvironment
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig
from torch import distributed

from callbacks import (
    EMA,
    AccuracyBounds,
    CodebookPictures,
    GuardLog,
    ImageGrid,
    Preemption,
    RunLog,
    StatusFile,
    StepCheckpoint,
    StepProgress,
    Throughput,
    WandbRun,
)
from callbacks.preemption import VALIDATION_DUE
from callbacks.wandb_folder import trial_run_id
from datamodules.faces import FaceDataModule
from experiments.cli.signals import watch
from experiments.cli.srun import TRAINING, in_slurm, srun_tasks, tell_followers
from experiments.pipelines import peers
from experiments.pipelines.build import plain
from experiments.pipelines.strategy import build_strategy
from lightning_modules.stepped import SteppedModule
from osdface.errors import UserError


@dataclass(frozen=True)
class FitSettings:
    """What one run logs and keeps.

    Attributes:
        label: Stands before the progress bar and names the W&B run.
        job_type: W&B's job type, such as "stage1".
        val_every: Generator steps between validations.
        log_every: Generator steps between log rows.
        checkpoint_every: Generator steps between checkpoints.
        metric: Key of the validation figures that chooses the best checkpoint.
        mode: "min" or "max" of it.
        shown: Keys in the progress bar.
        ema_decay: 0 for none.
        accuracy: When the discriminator is too strong or dead; None does not watch it.
    """

    label: str
    job_type: str
    val_every: int
    log_every: int
    checkpoint_every: int
    metric: str
    mode: str = "min"
    shown: tuple[str, ...] = ("loss/total", "loss/mse/raw")
    ema_decay: float = 0.0
    accuracy: AccuracyBounds | None = None


def _quiet() -> None:
    """Silences what Lightning says on every start; its warnings about the user's run stay."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (".*LeafSpec.*", ".*in eval mode at the start.*", ".*num_workers.*"):
        warnings.filterwarnings("ignore", message)


def seed_everything(cfg: DictConfig) -> None:
    """Seeds initial weights; data and noise have seeds of their own."""
    L.seed_everything(int(cfg.seed), workers=True, verbose=False)


def check_gpus(cfg: DictConfig) -> None:
    """Raises a UserError where the trainer wants more GPUs than there are."""
    if cfg.trainer.accelerator != "gpu":
        return
    count = torch.cuda.device_count() or int(torch.backends.mps.is_available())
    if not count:
        raise UserError(
            "This machine has no GPU that torch can use: take trainer=cpu, or trainer=ddp_sim for "
            "two processes."
        )
    if int(cfg.trainer.devices) > count:
        raise UserError(f"trainer.devices={cfg.trainer.devices}: this machine has {count} GPU(s).")


def build_trainer(cfg: DictConfig, callbacks: list[L.Callback], **options: Any) -> L.Trainer:
    """Builds the Lightning trainer of ``trainer=`` without its own logger and checkpoints."""
    check_gpus(cfg)
    _quiet()
    chosen = plain(cfg.trainer)
    threads = chosen.pop("threads", None)
    del chosen["timeout_seconds"]  # the strategy's
    if threads:
        torch.set_num_threads(int(threads))
    tell_followers(cfg.output_dir, TRAINING)
    peers.prepare()
    return L.Trainer(
        **chosen,
        strategy=build_strategy(cfg),
        plugins=_environments(),
        logger=False,
        enable_checkpointing=any(isinstance(c, StepCheckpoint) for c in callbacks),
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        callbacks=callbacks,
        **options,
    )


def _environments() -> list[ClusterEnvironment]:
    """Tells Lightning who starts the processes, which inside a Slurm job it would guess.

    It takes every job that is not called "bash" or "interactive" for one of srun, and each task of
    srun in a job of such a name for a run of its own.
    """
    if srun_tasks() > 1:
        # Its handler of SIGUSR1 saves wherever the signal lands, which loses work or hangs;
        # callbacks.Preemption does it at the end of a step.
        return [SLURMEnvironment(auto_requeue=False)]
    return [LightningEnvironment()] if in_slurm() and "RANK" not in os.environ else []


def barrier() -> None:
    """Waits for the other ranks, where there are any."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lets Ctrl-C through as KeyboardInterrupt.

    Lightning shuts down on it, leaves SIGINT ignored and exits with status 1. After SIGTERM it
    exits with status 0, which a batch system takes for success; here it is 143, as a shell has it.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SIGTERMException:
        raise SystemExit(128 + signal.SIGTERM) from None
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            signal.signal(signal.SIGINT, handler)
            raise KeyboardInterrupt from None
        raise


def _finish(state: dict[str, Any], module: SteppedModule, averages: EMA | None) -> None:
    """Fills the module from a checkpoint of the last step."""
    module.on_load_checkpoint(state)
    module.load_state_dict(state["state_dict"], strict=False)
    if averages is not None:
        averages.load_state_dict(state["callbacks"][averages.state_key])


def load_weights(state: Any, module: SteppedModule, where: str) -> None:
    """Fills ``module`` from a checkpoint's content, with the averaged weights where EMA was on.

    Raises:
        UserError: It is no checkpoint of ours, or belongs to another configuration, base or VRE.
    """
    if not isinstance(state, dict) or not {"state_dict", "generator_step"} <= state.keys():
        raise UserError(f"{where} is no checkpoint of this framework.")
    module.on_load_checkpoint(state)
    module.load_state_dict(state["state_dict"], strict=False)
    kept = state.get("callbacks", {}).get(EMA().state_key)
    if kept is not None:
        averages = EMA()
        averages.load_state_dict(kept)
        averages.swap_in(module)


def fit(
    cfg: DictConfig,
    module: SteppedModule,
    datamodule: FaceDataModule,
    run_dir: Path,
    settings: FitSettings,
) -> dict[str, float]:
    """Trains ``module`` to its last step, resuming ``run_dir`` where a checkpoint is there.

    With EMA the averaged weights are the module's when this returns.

    Returns:
        The figures of the last validation.
    """
    module.config = plain(cfg)
    run_dir.mkdir(parents=True, exist_ok=True)
    wandb_run = WandbRun(
        run_dir,
        project=cfg.logger.project,
        name=f"{settings.label}",
        group=cfg.logger.group,
        tags=(cfg.scale.name, cfg.data.kind, *plain(cfg.logger.tags)),
        job_type=settings.job_type,
        config=plain(cfg) | {"host": platform.node()},
        mode=cfg.logger.mode,
        every_n_steps=settings.log_every,
        # A sweep looks for the figures of stage 2.
        run_id=trial_run_id() if settings.job_type == "stage2" else None,
    )
    checkpoint = StepCheckpoint(
        run_dir, settings.checkpoint_every, metric=settings.metric, mode=settings.mode
    )
    callbacks: list[L.Callback] = [
        Throughput(),
        GuardLog(run_dir, settings.accuracy, wandb_run),
        RunLog(run_dir, settings.log_every),
        wandb_run,
        ImageGrid(run_dir, wandb_run),
        CodebookPictures(run_dir, wandb_run),
        StepProgress(settings.label, enabled=bool(cfg.progress), shown=settings.shown),
        StatusFile(run_dir, wandb_run=wandb_run),
        Preemption(watch, checkpoint, settings.val_every),
        checkpoint,
    ]
    averages = EMA(settings.ema_decay) if settings.ema_decay else None
    if averages is not None:
        callbacks.insert(0, averages)
    last = checkpoint.find_last()
    state = torch.load(last, map_location="cpu", weights_only=True) if last else {}
    seconds = float(state.get("training_seconds", 0.0))
    trained = module.settings.is_spent(int(state.get("generator_step", 0)), seconds)
    unvalidated = bool(state.get(VALIDATION_DUE))
    trainer = build_trainer(
        cfg,
        callbacks,
        max_epochs=-1,
        # After the last step there is a validation whatever the distance is.
        val_check_interval=1 if trained else settings.val_every * module.settings.accumulate,
        check_val_every_n_epoch=None,
    )
    with (
        watch.deferred(trainer.world_size == 1),
        wandb_run,
        peers.joined(cfg.trainer.timeout_seconds),
        _interruptible(),
    ):
        if trained and not unvalidated:
            _finish(state, module, averages)
            trainer.validate(module, datamodule=datamodule, verbose=False)
            checkpoint.clear_damaged(trainer)
        else:
            if state and trainer.is_global_zero:
                print(
                    f"{settings.label}: going on after step {state['generator_step']}", flush=True
                )
            trainer.fit(module, datamodule=datamodule, ckpt_path=last)
    if averages is not None:
        averages.swap_in(module)
    return dict(module.validation_metrics)
