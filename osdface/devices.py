"""Where networks run, and how a batch is kept from changing a picture."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.backends import cudnn


def default_device() -> torch.device:
    """Returns the first CUDA device, else MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


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
