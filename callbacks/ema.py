"""Exponential moving average of the trained weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from callbacks.values import current_step


class EMA(Callback):
    """Keeps ``average <- d * average + (1 - d) * weight`` of the trainable parameters in float32.

    The averages are swapped in for validation, and by ``with ema.weights(pl_module):`` for an
    export; training always goes on with the raw weights. Checkpoints hold the raw weights, and
    the averages in this callback's state.
    """

    def __init__(
        self,
        decay: float = 0.999,
        every: int = 1,
        exclude: tuple[str, ...] = ("discriminator", "regulariser"),
    ) -> None:
        """Settings.

        ``decay``: per generator step, in [0, 1); ``every``: steps between two updates, each with
        d = decay^every, so that the averaging length does not depend on it; ``exclude``:
        parameters whose name has one of these words before a dot are left out, since nothing
        validates or exports a critic.
        """
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        self.decay, self.every, self.exclude = decay, every, tuple(exclude)
        self.shadow: dict[str, Tensor] = {}
        self._raw: dict[str, Tensor] = {}
        self._step = 0

    def _averaged(self, name: str) -> bool:
        parts = name.split(".")[:-1]
        return not any(word in part for part in parts for word in self.exclude)

    def _parameters(self, pl_module: LightningModule) -> dict[str, torch.nn.Parameter]:
        parameters = dict(pl_module.named_parameters())
        if self.shadow:
            missing = sorted(set(self.shadow) - set(parameters))
            if missing:
                raise KeyError(f"the EMA holds parameters that the model lacks: {missing[:3]}")
            return {name: parameters[name] for name in self.shadow}
        return {
            name: parameter
            for name, parameter in parameters.items()
            if parameter.requires_grad and self._averaged(name)
        }

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._step = current_step(pl_module)
        self.shadow = {
            name: self.shadow.get(name, parameter)
            .detach()
            .to(parameter.device, torch.float32, copy=True)
            for name, parameter in self._parameters(pl_module).items()
        }

    @torch.no_grad()
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        step = current_step(pl_module)
        if step == self._step:
            return
        self._step = step
        # A step that was skipped as not finite changed no weight: the average stays too.
        skipped = getattr(pl_module, "skipped_networks", ())
        if step % self.every == 0 and all(name in self.exclude for name in skipped):
            weight = 1.0 - self.decay**self.every
            for name, parameter in self._parameters(pl_module).items():
                self.shadow[name].lerp_(parameter.detach().float(), weight)

    @torch.no_grad()
    def swap_in(self, pl_module: LightningModule) -> None:
        """Puts the averages into the model; a second call changes nothing."""
        if self._raw or not self.shadow:
            return
        for name, parameter in self._parameters(pl_module).items():
            self._raw[name] = parameter.detach().clone()
            parameter.copy_(self.shadow[name])

    @torch.no_grad()
    def swap_out(self, pl_module: LightningModule) -> None:
        """Puts the raw weights back; without a swap before it changes nothing."""
        if self._raw:
            for name, parameter in self._parameters(pl_module).items():
                parameter.copy_(self._raw[name])
            self._raw = {}

    @contextmanager
    def weights(self, pl_module: LightningModule) -> Iterator[None]:
        """Runs the block with the averages in the model, for an export."""
        self.swap_in(pl_module)
        try:
            yield
        finally:
            self.swap_out(pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.swap_in(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.swap_out(pl_module)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self.swap_out(pl_module)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        for name, raw in self._raw.items():
            if name in checkpoint.get("state_dict", {}):
                checkpoint["state_dict"][name] = raw.clone()

    def state_dict(self) -> dict[str, Any]:
        return {"shadow": {name: tensor.cpu() for name, tensor in self.shadow.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.shadow = dict(state_dict["shadow"])
