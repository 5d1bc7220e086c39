"""Latents kept in memory, for trainings that need no image: encoded once instead of every epoch."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from datamodules.dataset import FaceDataset
from datamodules.samplers import Draw, ValidationSampler


class LatentDataset(Dataset[dict[str, Any]]):
    """The latents of a data set's HQ images and of their mirror images.

    Items are those of :class:`~datamodules.dataset.FaceDataset` with ``latent`` in place of ``hq``
    and ``lq``: the same draw is mirrored or not in both.

    Args:
        faces: The images. Every one is read and encoded here, broken ones are replaced as there.
        encode: Maps (B, 3, R, R) in [-1, 1] to latents (B, C, h, w).
        batch_size: Images encoded at once.
        progress: Whether a progress bar is shown.
        device: Where ``encode`` runs.
    """

    def __init__(
        self,
        faces: FaceDataset,
        encode: Callable[[Tensor], Tensor],
        batch_size: int = 16,
        progress: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        self.faces = faces
        self.plain: list[dict[str, Any]] = []
        self.mirrored: list[dict[str, Any]] = []
        batches = ValidationSampler(len(faces), batch_size)  # every sample once, with its spares
        for draws in tqdm(batches, desc="encoding latents", disable=not progress, leave=False):
            for target, flipped in ((self.plain, False), (self.mirrored, True)):
                if flipped and not faces.flip:
                    continue
                items = [faces.original(draw, flipped) for draw in draws]
                images = torch.stack([item.pop("hq") for item in items]).to(device)
                with torch.no_grad():
                    latents = encode(images).cpu()
                target += [item | {"latent": z} for item, z in zip(items, latents, strict=True)]

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, draw: Draw | int) -> dict[str, Any]:
        draw = draw if isinstance(draw, Draw) else Draw(0, draw)
        flipped = self.faces.is_flipped(draw.epoch, self.plain[draw.sample]["key"])
        return (self.mirrored if flipped else self.plain)[draw.sample]
