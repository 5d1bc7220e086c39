"""Where networks run, and how a batch is kept from changing a picture."""

import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch.backends import cudnn

from osdface.errors import UserError


def default_device() -> torch.device:
    """Returns the first CUDA device, else MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def usable_device(name: torch.device | str | None, dtype: torch.dtype) -> torch.device:
    """Returns a device on which tensors of ``dtype`` can be made.

    Args:
        name: Such as "cuda:1"; None takes :func:`default_device`.
        dtype: What will be computed in.

    Raises:
        UserError: There is no such device, or it knows no such numbers (MPS no float64).
    """
    if not dtype.is_floating_point:
        raise UserError(f"dtype={dtype} is wrong: networks compute in floats.")
    try:
        device = torch.device(name) if name is not None else default_device()
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"There is no device {name} here: cuda, cuda:1, mps, cpu.") from error
    try:
        torch.zeros(1, device=device, dtype=dtype).add(1)
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise UserError(f"{device} does not compute in {dtype}: take another dtype.") from error
    return device


def device_name(device: torch.device) -> str:
    """Returns the GPU's or processor's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Returns a context without autocast; an empty one where there is none to switch off.

    So an exported graph holds no trace of it, and devices that know no autocast work.
    """
    known = device.type in ("cpu", "cuda", "mps", "xpu")
    if known and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def _switches() -> list[tuple[Any, str, Any]]:
    """Settings of this process under which convolutions are float32 on CUDA and always the same.

    Those of matrix products are float32 by default; where a caller allowed TF32 there, it stays.
    """
    found: list[tuple[Any, str, Any]] = [
        (cudnn, "benchmark", False),
        (cudnn, "deterministic", True),
    ]
    # torch raises where its former and its present names of this are mixed.
    if hasattr(cudnn, "conv") and hasattr(cudnn.conv, "fp32_precision"):
        return [*found, (cudnn.conv, "fp32_precision", "ieee")]
    return [*found, (cudnn, "allow_tf32", False)]


@contextmanager
def exact_inference() -> Iterator[None]:
    """No gradients, no TF32 in convolutions, no algorithm chosen by timing.

    A batch must not change a picture. The settings are put back behind it.
    """
    before = [(where, name, getattr(where, name)) for where, name, _ in _switches()]
    try:
        for where, name, value in _switches():
            setattr(where, name, value)
        with torch.inference_mode():
            yield
    finally:
        for where, name, value in before:
            setattr(where, name, value)
