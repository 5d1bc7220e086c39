"""What is written first: a torch Dataset over files with the degradation as its recipe says.

``benchmarks.data`` holds our loader against it. It does the same work on the same pictures.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset

from osdface.degradation import Degradation, Parameters, sample_parameters
from osdface.degradation.kernels import gaussian_kernel


def plain_degrade(
    image: NDArray[np.uint8], parameters: Parameters, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Degrades RGB (H, W, 3): float32 filter2D with the whole kernel, resize, noise, JPEG, resize.

    The arguments are those of :func:`osdface.degradation.apply`; so are the parameters' ranges.
    """
    height, width = image.shape[:2]
    own = parameters
    kernel = gaussian_kernel(own.kernel_size, own.sigma_x, own.sigma_y, own.theta)
    low = cv2.filter2D(image.astype(np.float32) / 255, -1, kernel)
    size = max(1, int(width / own.down)), max(1, int(height / own.down))
    low = cv2.resize(low, size, interpolation=cv2.INTER_LINEAR)
    low = low + rng.standard_normal(low.shape, dtype=np.float32) * (own.noise / 255)
    low = np.round(np.clip(low * 255, 0, 255)).astype(np.uint8)
    bgr = cv2.cvtColor(low, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, own.jpeg_quality])
    low = cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    low = cv2.resize(low.astype(np.float32) / 255, (width, height), interpolation=cv2.INTER_LINEAR)
    if own.gray:
        low = np.repeat(cv2.cvtColor(low, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    return np.round(np.clip(low * 255, 0, 255)).astype(np.uint8)


class PlainDataset(Dataset[dict[str, Any]]):
    """Pairs from a folder of pictures of one size, opened by Pillow.

    Items are those of :class:`datamodules.dataset.FaceDataset` without ``identity``.
    """

    def __init__(self, paths: list[Path], degradation: Degradation) -> None:
        self.paths, self.degradation = paths, degradation

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = np.array(Image.open(self.paths[index]).convert("RGB"))
        rng = np.random.default_rng()
        if rng.random() < 0.5:
            image = image[:, ::-1].copy()
        low = plain_degrade(image, sample_parameters(self.degradation, rng), rng)
        return {"hq": _tensor(image), "lq": _tensor(low), "key": self.paths[index].stem}


def _tensor(image: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1).float() / 127.5 - 1
