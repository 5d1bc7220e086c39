"""The association loss between HQ and LQ tokens (stage 1), alone or across ranks."""

import math
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from osdface.losses.perceptual import full_precision


class LearnedTemperature(nn.Module):
    """The learned factor exp(s) of the logits, s starting at ln(1 / 0.07).

    It is clamped to [1, 100] by clamping s itself before use, so that it is never stuck outside.
    Remember to give it to an optimizer. Source: CLIP; DAEFR forgets the optimizer.
    """

    def __init__(self, initial: float = 1 / 0.07, maximum: float = 100.0) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(initial)))
        self.maximum = maximum

    def forward(self) -> Tensor:
        """Returns exp(s), a scalar."""
        with torch.no_grad():
            self.log_scale.clamp_(0, math.log(self.maximum))
        return self.log_scale.exp()


class AssociationLoss(nn.Module):
    """Symmetric contrastive loss of HQ and LQ tokens (B, N, C) -> scalar, at least float32.

    With unit-norm tokens H, L of all images and places: logits = exp(s) H L^T, loss = (CE over rows
    + CE over columns) / 2, the diagonal being the truth. Source: DAEFR.

    Args:
        gather: Take the other ranks' tokens as negatives too. Each rank computes the rows and
            columns of its own tokens; value and (after DDP's averaging) gradients equal those of
            one process with the whole batch. All ranks need equally many tokens. Without an
            initialised process group it has no effect.

    Attributes:
        temperature: The learned temperature, a :class:`LearnedTemperature`.
    """

    def __init__(self, gather: bool = False) -> None:
        super().__init__()
        self.gather = gather
        self.temperature = LearnedTemperature()

    def forward(self, hq: Tensor, lq: Tensor) -> Tensor:
        with torch.autocast(hq.device.type, enabled=False):
            return self._loss(_unit_tokens(hq), _unit_tokens(lq))

    def _loss(self, hq: Tensor, lq: Tensor) -> Tensor:
        gather = self.gather and distributed.is_initialized()
        rank = distributed.get_rank() if gather else 0
        all_hq, all_lq = (_Gather.apply(hq), _Gather.apply(lq)) if gather else (hq, lq)
        truth = torch.arange(len(hq), device=hq.device) + rank * len(hq)
        scale = self.temperature()
        rows = F.cross_entropy(scale * hq @ all_lq.T, truth)
        columns = F.cross_entropy(scale * lq @ all_hq.T, truth)
        loss = (rows + columns) / 2
        return loss + (_mean_over_ranks(loss) - loss.detach()) if gather else loss


def _unit_tokens(x: Tensor) -> Tensor:
    return F.normalize(full_precision(x).flatten(0, 1), dim=-1)


def _mean_over_ranks(value: Tensor) -> Tensor:
    value = value.detach().clone()
    distributed.all_reduce(value)
    return value / distributed.get_world_size()


class _Gather(torch.autograd.Function):
    """Concatenates the ranks' (n, C); a rank's gradient is the sum over all ranks' losses."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.length = len(x)
        parts = [torch.empty_like(x) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(gradient)
        return gradient.narrow(0, distributed.get_rank() * ctx.length, ctx.length)
