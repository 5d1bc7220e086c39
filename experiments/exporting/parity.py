"""Whether an export gives the same pictures: on degraded drawn portraits, in several batches."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from datamodules.portraits import render_portrait
from osdface.degradation import build_degradation, degrade
from osdface.restorer import Restorer

BATCHES = (1, 2, 5)


def sample_images(resolution: int, count: int = max(BATCHES)) -> Tensor:
    """Draws and degrades portraits: (count, 3, R, R) float32 in [-1, 1], always the same."""
    recipe = build_degradation({"preset": "waveface", "strength_scale": min(1.0, resolution / 512)})
    images = [
        degrade(render_portrait(0, person, 0, resolution).image, recipe, 0, 0, str(person))
        for person in range(count)
    ]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def largest_difference(restorer: Restorer, run: Callable[[Tensor], Tensor]) -> float:
    """Returns the largest difference of a pixel between a restorer and an export of it.

    Args:
        restorer: In float32.
        run: Maps images (B, 3, R, R) to restored ones; it is called with each of ``BATCHES``.

    Returns:
        The difference, in [0, 2]; infinite where a pixel is no number.
    """
    images = sample_images(restorer.resolution)
    expected = torch.as_tensor(restorer.restore(images, batch_size=1).images)
    worst = 0.0
    for count in BATCHES:
        found = run(images[:count].contiguous())
        if found.shape != expected[:count].shape:
            return math.inf
        difference = float((found - expected[:count]).abs().max())
        worst = max(worst, difference if math.isfinite(difference) else math.inf)
    return worst
