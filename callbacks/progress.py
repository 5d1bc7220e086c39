"""A progress bar that counts generator steps and knows the time left."""

import sys
import time
from typing import Any, TextIO

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from callbacks.values import current_step, short, training_values, validation_values


def clock(seconds: float) -> str:
    """Formats seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class StepProgress(ProgressBar):
    """One bar a run with steps, time left and the main losses; a second one while validating.

    Where the output is no terminal it prints a line at every tenth of the steps instead. A module
    whose ``max_steps`` is 0 trains by the clock: its ``progress``, in [0, 1], counts then. As a
    Lightning progress bar it replaces Lightning's own; leave ``enable_progress_bar`` at True.
    """

    def __init__(
        self,
        label: str = "training",
        enabled: bool = True,
        shown: tuple[str, ...] = ("loss/total", "loss/mse/raw"),
        lines: int = 10,
        file: TextIO | None = None,
    ) -> None:
        """Settings.

        ``label``: stands before the bar, such as the variant's name; ``shown``: keys of
        ``pl_module.logged`` in the postfix; ``lines``: number of lines without a terminal;
        ``file``: default ``sys.stdout``.
        """
        super().__init__()
        self.label, self.shown, self.lines = label, shown, lines
        self.enabled = enabled
        self._file = file
        self._bar: tqdm | None = None
        self._validation_bar: tqdm | None = None

    @property
    def file(self) -> TextIO:
        """Where to write, looked up late because Hydra and pytest exchange ``sys.stdout``."""
        return self._file if self._file is not None else sys.stdout

    @property
    def is_terminal(self) -> bool:
        return self.file.isatty()

    def disable(self) -> None:
        self.enabled = False

    def enable(self) -> None:
        self.enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        if self.enabled:
            tqdm.write(" ".join(map(str, args)), file=self.file)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._first = self._step = current_step(pl_module)
        self._total = int(getattr(pl_module, "max_steps", 0)) or None
        self._start = time.monotonic()
        self._share = self._first_share = self._progress(pl_module)
        self._tenth = int(self._share * self.lines)
        if self.enabled and self.is_terminal:
            self._bar = tqdm(
                desc=self.label,
                total=self._total,
                initial=self._step,
                file=self.file,
                unit="step",
                dynamic_ncols=True,
                # Validations make the pace uneven: the mean over the run tells the time left.
                smoothing=0.0,
            )

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        step = current_step(pl_module)
        if not self.enabled or step == self._step:
            return
        if self._bar is not None:
            self._bar.set_postfix_str(self._losses(pl_module), refresh=False)
            self._bar.update(step - self._step)
        elif int((share := self._progress(pl_module)) * self.lines) > self._tenth:
            self._tenth, self._share = int(share * self.lines), share
            self.print(self.line(step, self._losses(pl_module)))
        self._step = step

    def _progress(self, pl_module: LightningModule) -> float:
        if self._total is None:
            return float(getattr(pl_module, "progress", 0.0))
        # 1e-9: no tenth is lost to rounding.
        return current_step(pl_module) / self._total + 1e-9

    def line(self, step: int, losses: str = "") -> str:
        """Returns the line that stands for the bar where the output is no terminal."""
        spent = time.monotonic() - self._start
        share, total = self._share, f"/{self._total}" if self._total else ""
        left = spent / max(share - self._first_share, 1e-9) * (1 - share)
        text = f"{self.label}: step {step}{total} {int(100 * share):3d}%"
        text += f", {clock(spent)} spent"
        return f"{text}, {clock(left)} left{', ' if losses else ''}{losses}"

    def _losses(self, pl_module: LightningModule) -> str:
        values = training_values(pl_module)
        names = {key: key.removeprefix("loss/").removesuffix("/raw") for key in self.shown}
        return " ".join(f"{names[key]}={short(values[key])}" for key in self.shown if key in values)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.enabled and self.is_terminal:
            batches = trainer.num_sanity_val_batches if trainer.sanity_checking else None
            total = sum(batches if batches is not None else trainer.num_val_batches)
            self._validation_bar = tqdm(
                desc=f"{self.label}: validation",
                total=total if total != float("inf") else None,
                file=self.file,
                leave=False,
                dynamic_ncols=True,
            )

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._validation_bar is not None:
            self._validation_bar.update()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._validation_bar is not None:
            self._validation_bar.close()
            self._validation_bar = None
        values = validation_values(pl_module)
        if self.enabled and values and not trainer.sanity_checking:
            figures = [
                f"{key.removeprefix('val/')} {short(value)}"
                for key, value in values.items()
                if key.startswith("val/")
            ]
            step = current_step(pl_module)
            self.print(f"{self.label}: validation at step {step}: {', '.join(figures)}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._close()

    def _close(self) -> None:
        for bar in (self._validation_bar, self._bar):
            if bar is not None:
                bar.close()
        self._bar = self._validation_bar = None
