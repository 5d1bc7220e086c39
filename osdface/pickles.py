"""Pickled checkpoints of others, read as tensors only."""

from pathlib import Path
from typing import Any

import torch

from osdface.errors import UserError


def load_pickle(path: str | Path) -> Any:
    """Reads a ``.ckpt`` or ``.pth`` file onto the CPU without running code from it.

    Raises:
        UserError: It is missing, truncated, no checkpoint, or holds more than tensors and plain
            values.
    """
    if not Path(path).is_file():
        raise UserError(f"There is no file {path}.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # whatever a damaged pickle makes of torch: KeyError, struct.error
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{path} is no checkpoint that can be read ({line}).") from error
