"""A device as strict as MPS and as a CUDA graph's capture: no float64, no word with the host."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "is_pinned", "unique")
_FROM_HOST = ("lift_fresh", "scalar_tensor")  # torch.tensor(...)


class Refused(Exception):
    """An operation that such a device does not do."""


class StrictDevice(TorchDispatchMode):
    """Raises :class:`Refused` at float64 and at whatever makes host and device meet."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in (*_WAITS, *_FROM_HOST):
            raise Refused(f"{name}: host and device meet")
        found = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, found)) if isinstance(x, torch.Tensor)]
        if any(tensor.dtype == torch.float64 for tensor in tensors):
            raise Refused(f"{name}: float64")
        return found
