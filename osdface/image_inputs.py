"""Images of any usual type to tensors of the model's size, and back to the type they came in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from osdface.errors import UserError
from osdface.networks.alignment import resize
from osdface.picture_reading import read_picture


@dataclass
class ImageInput:
    """One image on its way to the model.

    Attributes:
        tensor: (3, H, W) float32 in [-1, 1].
        back: Maps a restored (3, H', W') in [-1, 1] to the type that came in.
    """

    tensor: Tensor
    back: Callable[[Tensor], Any]


def to_bytes(tensor: Tensor) -> np.ndarray:
    """Maps (3, H, W) in [-1, 1] to uint8 (H, W, 3)."""
    scaled = ((tensor.float().clamp(-1, 1) + 1) * 127.5).round()
    return scaled.to("cpu", torch.uint8).permute(1, 2, 0).contiguous().numpy()


def _from_bytes(array: np.ndarray) -> Tensor:
    # A copy: torch warns of arrays that cannot be written to, such as PIL's.
    return torch.from_numpy(np.array(array)).permute(2, 0, 1).float() / 127.5 - 1


def _from_array(array: np.ndarray) -> ImageInput:
    gray = array.ndim == 2
    colors = np.stack([array] * 3, -1) if gray else array
    if colors.ndim != 3 or colors.shape[2] != 3:
        raise UserError(f"An image array is (H, W, 3) RGB or (H, W) gray, not {array.shape}.")
    if array.dtype == np.uint8:
        return ImageInput(_from_bytes(colors), to_bytes)
    if not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"An image array is uint8 or floats in [0, 1], not {array.dtype}.")
    if not np.isfinite(array).all() or array.min() < -1e-3 or array.max() > 1 + 1e-3:
        raise UserError("An image array of floats lies in [0, 1]: divide bytes by 255.")
    tensor = torch.from_numpy(np.array(colors, np.float32)).permute(2, 0, 1) * 2 - 1

    def back(restored: Tensor) -> np.ndarray:
        image = (restored.float().clamp(-1, 1) + 1) / 2
        return image.permute(1, 2, 0).contiguous().cpu().numpy().astype(array.dtype)

    return ImageInput(tensor, back)


def _from_tensor(tensor: Tensor) -> ImageInput:
    if tensor.ndim != 3 or len(tensor) != 3:
        raise UserError(f"An image tensor is (3, H, W) or (B, 3, H, W), not {tuple(tensor.shape)}.")
    if not tensor.is_floating_point():
        raise UserError(f"An image tensor holds floats in [-1, 1], not {tensor.dtype}.")
    image = tensor.detach().float()
    if not torch.isfinite(image).all() or image.abs().max() > 1 + 1e-3:
        raise UserError("An image tensor lies in [-1, 1]: x / 127.5 - 1 maps bytes there.")
    kind, device = tensor.dtype, tensor.device
    return ImageInput(image, lambda restored: restored.clamp(-1, 1).to(device, kind))


def _from_pil(image: Image.Image) -> ImageInput:
    array = np.asarray(image.convert("RGB"))
    return ImageInput(_from_bytes(array), lambda restored: Image.fromarray(to_bytes(restored)))


def as_input(image: Any) -> ImageInput:
    """Reads one image.

    Args:
        image: PIL image; array (H, W, 3) or (H, W), uint8 or floats in [0, 1]; tensor (3, H, W)
            in [-1, 1]; or a path, which comes back as a PIL image.

    Raises:
        UserError: Its type, shape or range is another.
    """
    if isinstance(image, ImageInput):
        return image
    if isinstance(image, Image.Image):
        return _from_pil(image)
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if isinstance(image, Tensor):
        return _from_tensor(image)
    if isinstance(image, str | Path):
        return _from_pil(Image.fromarray(read_picture(image).rgb_bytes()))
    raise UserError(f"{type(image).__name__} is no image: PIL, NumPy, tensor or path.")


def as_inputs(images: Any) -> list[ImageInput]:
    """Reads one image or several; a tensor or array with four dimensions is several."""
    several = isinstance(images, Sequence) and not isinstance(images, str)
    if several or getattr(images, "ndim", 3) == 4:
        return [as_input(image) for image in images]
    return [as_input(images)]


def fit(image: Tensor, resolution: int) -> Tensor:
    """Resamples (3, H, W) to (1, 3, R, R); what is not square is padded with its edge first.

    So a face is neither distorted nor cut; :func:`unfit` takes the padding off again.
    """
    height, width = image.shape[1:]
    left, top = _padding(height, width)
    side = max(height, width)
    around = (left, side - width - left, top, side - height - top)
    padded = F.pad(image[None], around, mode="replicate") if height != width else image[None]
    return resize(padded, resolution).clamp(-1, 1)


def unfit(restored: Tensor, height: int, width: int, original_size: bool) -> Tensor:
    """Takes off the padding of :func:`fit`.

    Args:
        restored: (3, R, R).
        height: Of the image that came in.
        width: Of the image that came in.
        original_size: Whether to resample to (3, height, width); else the longer side is R.
    """
    side, resolution = max(height, width), restored.shape[-1]
    if not original_size:
        scale = resolution / side
        height, width, side = (
            max(1, round(height * scale)),
            max(1, round(width * scale)),
            resolution,
        )
    restored = resize(restored[None], side)[0]
    left, top = _padding(height, width)
    return restored[:, top : top + height, left : left + width]


def _padding(height: int, width: int) -> tuple[int, int]:
    side = max(height, width)
    return (side - width) // 2, (side - height) // 2
