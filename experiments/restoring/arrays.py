"""Pixels of photographs to the model's tensors and back."""

from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor


def to_tensor(array: np.ndarray) -> Tensor:
    """Maps uint8 or uint16 (H, W, 3) to (3, H, W) in [-1, 1]."""
    scaled = array.astype(np.float32) * (2 / np.iinfo(array.dtype).max) - 1
    return torch.from_numpy(scaled).permute(2, 0, 1)


def to_array(tensor: Tensor, kind: Any) -> np.ndarray:
    """Maps (3, H, W) in [-1, 1] to (H, W, 3) of an unsigned type; inverts :func:`to_tensor`."""
    levels = (tensor.clamp(-1, 1) + 1) * (np.iinfo(kind).max / 2)
    return np.ascontiguousarray(levels.round().permute(1, 2, 0).numpy().astype(kind))


def resampled(array: Any, size: tuple[int, ...]) -> Any:
    """Resamples (H, W) or (H, W, C) to (width, height); None stays None."""
    if array is None or array.shape[1::-1] == size:
        return array
    shrinks = size[0] < array.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4
    return np.asarray(cv2.resize(array, (size[0], size[1]), interpolation=method))
