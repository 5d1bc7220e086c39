"""LoRA as plain tensors, and what it adds to the weights of a network."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from osdface.errors import UserError


@dataclass
class LoRAWeights:
    """LoRA of one network as plain tensors in float32.

    Attributes:
        rank: Of every layer.
        alpha: An update is scaled by alpha / rank.
        layers: Full name of a layer -> (A, B): of a linear layer (rank, in) and (out, rank), of a
            convolution (rank, in, h, w) and (out, rank, 1, 1).
    """

    rank: int
    alpha: float
    layers: dict[str, tuple[Tensor, Tensor]]

    def update(self, layer: str) -> Tensor:
        """Returns what a layer's weight gains: B A * alpha / rank, in the weight's shape."""
        down, up = self.layers[layer]
        flat = up.flatten(1) @ down.flatten(1)
        return flat.view(up.shape[0], *down.shape[1:]) * (self.alpha / self.rank)

    def options(self) -> dict[str, Any]:
        """Returns ``{"rank", "alpha", "targets"}`` as :func:`osdface.networks.lora.add_lora`'s."""
        return {"rank": self.rank, "alpha": self.alpha, "targets": sorted(self.layers)}

    def state(self, prefix: str = "") -> dict[str, Tensor]:
        """Returns the tensors by peft's names without an adapter's: ``LAYER.lora_A.weight``."""
        halves = ("lora_A", "lora_B")
        return {
            f"{prefix}{layer}.{half}.weight": tensor
            for layer, pair in self.layers.items()
            for half, tensor in zip(halves, pair, strict=True)
        }


def add_updates(
    updates: Iterable[tuple[nn.Module, LoRAWeights]],
    model: nn.Module,
    whole: dict[str, Tensor],
) -> None:
    """Adds LoRA to the weights of networks in place, then sets whole parameters of one.

    Args:
        updates: Networks without LoRA layers, each with its LoRA.
        model: The network with the whole parameters.
        whole: Full name of a parameter -> its value.

    Raises:
        UserError: A layer is not there or of another shape; nothing was changed then.
    """
    gains = [
        (_fitting(each, f"{layer}.weight", lora.update(layer)), lora.update(layer))
        for each, lora in updates
        for layer in lora.layers
    ]
    values = [(_fitting(model, name, value), value) for name, value in whole.items()]
    with torch.no_grad():
        for target, gain in gains:
            target += gain.to(target)
        for target, value in values:
            target.copy_(value)


def _fitting(model: nn.Module, name: str, value: Tensor) -> Tensor:
    layer, _, leaf = name.rpartition(".")
    try:
        found = getattr(model.get_submodule(layer), leaf)
    except AttributeError:
        found = None
    if not isinstance(found, Tensor):
        raise UserError(f"The base has no {name!r}.")
    if found.shape != value.shape:
        raise UserError(
            f"The base's {name!r} has shape {tuple(found.shape)}, the checkpoint's is for "
            f"{tuple(value.shape)}."
        )
    return found
