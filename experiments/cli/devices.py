"""The device that a command's words name."""

from typing import Any

from osdface.errors import UserError


def named_device(device: str | None) -> tuple[Any, int]:
    """Returns the device of that name, None for None, and how many of CUDA there are.

    Raises:
        UserError: There is no such device.
    """
    import torch

    try:
        named = torch.device(device) if device else None
    except RuntimeError as error:
        raise UserError(f"There is no device {device!r}: cuda, cuda:1, mps, cpu.") from error
    count = torch.cuda.device_count()
    if named and named.type == "cuda" and (named.index or 0) >= count:
        raise UserError(f"There is no device {device}: this machine has {count} of CUDA.")
    if named and named.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("There is no device mps on this machine.")
    return named, count
