"""LoRA of one network as plain tensors, without the network."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor


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
