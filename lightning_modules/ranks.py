"""Several processes as one: gradients and figures averaged, weights equal from the start."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, distributed, nn

from osdface.losses.perceptual import full_precision

# Gradients travel in pieces of this size: enough to fill a link, little beside a step's memory.
BUCKET_BYTES = 64 * 2**20


def world_size() -> int:
    """Returns how many processes train together, 1 without a process group."""
    ready = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if ready else 1


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter], bucket_bytes: int = BUCKET_BYTES) -> None:
    """Replaces every gradient by its mean over the ranks; all of them call it together.

    A rank without a gradient where another has one counts as zero; where none has, none gets one,
    so that an optimizer leaves those parameters alone as it would in one process.

    Args:
        parameters: The same ones, in the same order, on every rank.
        bucket_bytes: Most bytes in one exchange, a larger single parameter apart.
    """
    if world_size() > 1:
        for bucket in _buckets(list(parameters), bucket_bytes):
            _average(bucket)


def _buckets(tensors: Sequence[Tensor], size: int) -> Iterator[list[Tensor]]:
    """Groups tensors of one type and device, each group at most ``size`` bytes or one tensor."""
    kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    for group in kinds.values():
        bucket: list[Tensor] = []
        filled = 0
        for tensor in group:
            if bucket and filled + tensor.nbytes > size:
                yield bucket
                bucket, filled = [], 0
            bucket.append(tensor)
            filled += tensor.nbytes
        yield bucket


def _average(parameters: list[Tensor]) -> None:
    there = [parameter.grad is not None for parameter in parameters]
    sent = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    # The first numbers tell how many ranks had a gradient: nothing is asked in a second exchange.
    flat = _flattened([parameters[0].new_tensor(there), *sent])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    # Reading makes a GPU wait; a rank with all of its gradients needs not know.
    used = there if all(there) else flat[: len(there)].tolist()
    _unflatten(flat[len(there) :], sent)
    for parameter, gradient, share in zip(parameters, sent, used, strict=True):
        parameter.grad = gradient if share else None


def _flattened(tensors: Sequence[Tensor]) -> Tensor:
    """Copies tensors of any memory layout into one row, each in the order of its indices."""
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _unflatten(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    """Copies the numbers back; the tensors keep their memory layout, which fused AdamW wants."""
    pieces = flat.split([tensor.numel() for tensor in tensors])
    shaped = [piece.view(tensor.shape) for piece, tensor in zip(pieces, tensors, strict=True)]
    torch._foreach_copy_(list(tensors), shaped)


@torch.no_grad()
def share_state(module: nn.Module, bucket_bytes: int = BUCKET_BYTES) -> None:
    """Gives every rank rank zero's parameters and buffers, frozen ones too."""
    tensors = [tensor.detach() for tensor in (*module.parameters(), *module.buffers())]
    if world_size() > 1:
        for bucket in _buckets(tensors, bucket_bytes):
            flat = _flattened(bucket)
            distributed.broadcast(flat.view(torch.uint8), 0)  # bytes: any type, no rounding
            _unflatten(flat, bucket)


@torch.no_grad()
def average_batch_statistics(module: nn.Module) -> None:
    """Averages the running statistics of trained BatchNorm layers, which each rank has its own."""
    statistics = [
        buffer
        for layer in module.modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm)
        and any(parameter.requires_grad for parameter in layer.parameters())
        for buffer in (layer.running_mean, layer.running_var)
        if buffer is not None
    ]
    if statistics and world_size() > 1:
        flat = _flattened(statistics)
        distributed.all_reduce(flat)
        _unflatten(flat / distributed.get_world_size(), statistics)


@torch.no_grad()
def average_figures(figures: Mapping[str, Tensor]) -> dict[str, float]:
    """Returns the means of scalars over the ranks in one exchange; all give the same names."""
    if not figures:
        return {}
    values = [full_precision(value.detach()) for value in figures.values()]
    widest = max((value.dtype for value in values), key=lambda dtype: dtype.itemsize)
    row = torch.stack([value.to(widest) for value in values])
    if world_size() > 1:
        distributed.all_reduce(row)
        row /= distributed.get_world_size()
    return dict(zip(figures, row.tolist(), strict=True))


def gather_rows(rows: Tensor) -> Tensor:
    """Returns the rows (n, ...) of all ranks, rank zero's first, on the CPU; n may differ."""
    everyone: list[Tensor] = [rows.cpu()] * world_size()
    if world_size() > 1:
        distributed.all_gather_object(everyone, rows.cpu())
    return torch.cat(everyone)
