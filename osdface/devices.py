"""Where networks run, and how a batch is kept from changing a picture."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def default_device() -> torch.device:
    """Returns the first CUDA device, else MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


@contextmanager
def exact_inference() -> Iterator[None]:
    """No gradients, no TF32, no algorithm chosen by timing: a batch must not change a picture."""
    matmul = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        # flags() leaves cuDNN off by default.
        exact = torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        )
        with torch.inference_mode(), exact:
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = matmul
