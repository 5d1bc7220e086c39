"""One Weights & Biases run for one training run: offline without an account, never half open."""

import shlex
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import wandb
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only

from callbacks.best_values import best_values
from callbacks.values import EverySteps, current_step, numbers, training_values, validation_values
from callbacks.wandb_folder import resolve_mode, stable_run_id
from osdface.run_folder import interruption, one_line, sync_command

STEP = "generator_step"


def _settings(**values: Any) -> wandb.Settings:
    """Builds settings from those that this version of wandb knows."""
    return wandb.Settings(**{k: v for k, v in values.items() if k in wandb.Settings.model_fields})


def _ending(error: BaseException) -> dict[str, str]:
    if isinstance(error, Exception):
        return {"status": "failed", "reason": one_line(error)}
    return {"status": "interrupted", "reason": interruption(error)}


class WandbRun(Callback):
    """A Lightning callback and a context manager around one W&B run.

    Use ``with WandbRun(...) as run: Trainer(callbacks=[run, ...]).fit(...)``: the run starts at
    the ``with`` and finishes at its end, with a non-zero exit code after any exception, also
    one before the first step. As a callback alone it covers ``fit`` only. The x axis of every
    figure is ``generator_step``. W&B's own troubles are warnings: training goes on without it.
    Rank zero only. A resumed run keeps its id (``wandb_id.txt``); steps repeated after a resume
    appear twice in W&B's history, once in ``metrics.csv``.
    """

    def __init__(
        self,
        run_dir: str | Path,
        project: str = "osdface",
        name: str | None = None,
        group: str | None = None,
        tags: tuple[str, ...] = (),
        job_type: str | None = None,
        config: Mapping[str, Any] | None = None,
        mode: str = "auto",
        every_n_steps: int = 50,
        entity: str | None = None,
        run_id: str | None = None,
        finish_timeout: float = 600.0,
        init_timeout: float = 30.0,
    ) -> None:
        """Settings.

        ``config``: plain resolved values; ``mode``: auto|online|offline|disabled; ``run_id``: used
        if the run folder stores none; ``finish_timeout``: seconds to wait for an upload at the end;
        ``init_timeout``: for the server's answer at the start.
        """
        resolve_mode(mode)
        self.run_dir = Path(run_dir)
        self.mode = mode
        self.steps = EverySteps(every_n_steps, first=True)
        self.arguments: dict[str, Any] = {
            "project": project,
            "entity": entity,
            "name": name,
            "group": group,
            "tags": list(tags),
            "job_type": job_type,
            "config": dict(config or {}),
        }
        self.finish_timeout, self.init_timeout = finish_timeout, init_timeout
        self._wanted_id = run_id
        self.run: Any = None
        self.run_id: str | None = None
        self._managed = self._started = self._failed = self._lost = False

    def start(self) -> "WandbRun":
        """Starts the run once; without a connection it falls back to offline, then to nothing."""
        if self._started or getattr(rank_zero_only, "rank", 0) != 0:
            return self
        self._started = True
        mode = resolve_mode(self.mode)
        if mode == "disabled":
            return self
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.run_id = stable_run_id(self.run_dir, self._wanted_id)
        for attempt in dict.fromkeys((mode, "offline")):
            try:
                self.run = self._init(attempt)
                return self
            except Exception as error:
                rest = "goes on offline" if attempt == "online" else "goes on without W&B"
                warnings.warn(
                    f"W&B did not start ({one_line(error)}): the run {rest}.", stacklevel=2
                )
                # W&B's own process keeps the half-open run and would refuse its id.
                self._try(wandb.teardown, "close the half-open run")
        self.run_id = None
        return self

    def _init(self, mode: Any) -> Any:
        settings = _settings(
            silent=True,
            console="off",
            init_timeout=self.init_timeout,
            login_timeout=self.init_timeout,
            finish_timeout=self.finish_timeout,
            finish_timeout_raises=True,
            # A job of a sweep must not get the run that an earlier one left open.
            reinit="create_new",
        )
        # Offline too: `wandb sync` then appends a part to those before it. Without it the part's
        # steps begin at 0 again, and the server drops them.
        run = wandb.init(
            dir=str(self.run_dir),
            id=self.run_id,
            mode=mode,
            resume="allow",
            settings=settings,
            **self.arguments,
        )
        try:
            run.define_metric(STEP)
            run.define_metric("*", step_metric=STEP)
        except BaseException:
            run.finish(exit_code=1)
            raise
        return run

    def _try(self, action: Callable[[], Any], what: str) -> None:
        try:
            action()
        except Exception as error:
            warnings.warn(f"W&B could not {what}: {error}", stacklevel=3)

    def log_values(self, values: Mapping[str, Any], step: int) -> None:
        """Logs figures at a generator step (``log`` is a name that Lightning gives callbacks)."""
        if self.run is None or not values:
            return
        try:
            self.run.log({STEP: step, **values})
        except ConnectionError as error:
            self._go_on_offline(error)
            self._try(lambda: self.run and self.run.log({STEP: step, **values}), "log")
        except Exception as error:
            warnings.warn(f"W&B could not log: {error}", stacklevel=2)

    def _go_on_offline(self, error: Exception) -> None:
        """Begins an offline part of the run: W&B's own process has died, say for lack of memory.

        A server that does not answer is no such case: that process keeps everything on disk.
        """
        (run, self.run), again, self._lost = (self.run, None), self._lost, True
        rest = "without W&B" if again else "offline"
        warnings.warn(f"W&B's process was lost ({error}): the run goes on {rest}.", stacklevel=3)
        with suppress(Exception):
            run.finish(exit_code=1)
        if again:
            return
        with suppress(Exception):
            wandb.teardown()
        try:
            self.run = self._init("offline")
        except Exception as failure:
            told = f"W&B did not start ({one_line(failure)}): the run goes on without W&B."
            warnings.warn(told, stacklevel=3)

    def log_image(self, name: str, image: np.ndarray, step: int) -> None:
        """Logs an (H, W, 3) byte image at a generator step."""
        if self.run is not None:
            self._try(lambda: self.run.log({STEP: step, name: wandb.Image(image)}), "log a picture")

    def summarize(self, values: Mapping[str, Any]) -> None:
        """Sets summary values of the run, such as the final figures and its status."""
        if self.run is not None:
            self._try(lambda: self.run.summary.update(dict(values)), "write the summary")

    def finish(self, failed: bool = False) -> None:
        """Closes the run; a second call does nothing."""
        run, self.run = self.run, None
        self._started = self._failed = self._lost = False
        if run is None:
            return
        try:
            run.finish(exit_code=1 if failed else 0)
        except TimeoutError:
            # Ends W&B's own process, which holds the last figures back until then.
            self._try(wandb.teardown, "close its process")
            kept = Path(str(run.dir)).parent
            warnings.warn(
                f"W&B did not take everything within {self.finish_timeout:g} s: "
                f"wandb sync {shlex.quote(str(kept))} uploads the rest.",
                stacklevel=2,
            )
        except Exception as error:
            warnings.warn(f"W&B could not finish: {error}", stacklevel=2)

    @property
    def sync_command(self) -> str | None:
        """The command that uploads the offline parts of this run, None if there are none."""
        return sync_command(self.run_dir)

    def __enter__(self) -> "WandbRun":
        self._managed = True
        return self.start()

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if error is not None:
            self.summarize(_ending(error))
        self.finish(failed=error is not None or self._failed)
        self._managed = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.is_global_zero:
            self.start()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.steps.start(current_step(pl_module))

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if self.steps.due(current_step(pl_module)):
            self.log_values(training_values(pl_module), self.steps.seen or 0)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self.log_values(validation_values(pl_module), current_step(pl_module))
        if trainer.state.fn != TrainerFn.FITTING:  # of a run that had no step left to do
            self._summarize_end(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._summarize_end(pl_module)

    def _summarize_end(self, pl_module: LightningModule) -> None:
        final = numbers(getattr(pl_module, "validation_metrics", None), "final/")
        self.summarize(final | best_values(self.run_dir) | {"steps": current_step(pl_module)})

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._failed = True
        if not isinstance(exception, Exception) and self.run is not None:
            # A signal or Ctrl-C: W&B shows "preempted", and a sweep does not count it as failed.
            self._try(lambda: self.run.mark_preempting(), "mark the interruption")
        if not self._managed:
            self.finish(failed=True)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # Inside a ``with`` the run stays open for figures of after the training.
        if not self._managed:
            self.finish()
