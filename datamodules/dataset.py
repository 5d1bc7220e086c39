"""From stored samples to training pairs."""

import logging
from collections.abc import Collection
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from datamodules.decoding import decode_image, fit_points, fit_square
from datamodules.labels import LabelSet
from datamodules.records import BrokenSample, Record, Source
from datamodules.samplers import Draw
from osdface.degradation import Degradation, degrade, rng_for
from osdface.errors import UserError

logger = logging.getLogger(__name__)


class UnreadableDataError(UserError):
    """Too many samples are broken.

    A DataLoader re-raises a worker's exception as ``type(error)(text with the traceback)``; the
    last line of that text is what the user should read.
    """

    def __init__(self, message: str) -> None:
        last = message.strip().splitlines()[-1]
        super().__init__(last.removeprefix(f"{__name__}.{type(self).__name__}: "))


class FaceDataset(Dataset[dict[str, Any]]):
    """Pairs of high- and low-quality faces.

    Items are asked for by :class:`~datamodules.samplers.Draw` (or an int, meaning epoch 0) and
    depend on (seed, epoch, key) alone: not on worker, rank, batch size or restart. A broken sample
    is reported once and replaced by the draw's first readable spare.

    Args:
        source: Where the encoded images come from.
        resolution: Side of the images in pixels.
        degradation: What makes the low-quality image.
        seed: Seeds flip and degradation.
        flip: Whether half of the images are mirrored.
        labels: Attributes and landmarks to hand out; None hands out neither.
        max_broken_share: Share of broken samples above which reading stops.

    Returns of an item:
        ``hq`` and ``lq``: float32 (3, R, R) in [-1, 1]; ``key``: str; ``identity``: int64, -1 if
        unknown; with ``labels`` also ``attributes``: int64 (A,) and ``landmarks``: float32
        (K, 2) pixels (x, y).
    """

    def __init__(
        self,
        source: Source,
        resolution: int,
        degradation: Degradation,
        seed: int = 0,
        flip: bool = False,
        labels: LabelSet | None = None,
        max_broken_share: float = 0.05,
    ) -> None:
        if resolution < 8:
            raise UserError(f"data.resolution is {resolution}: give at least 8 pixels.")
        self.source, self.resolution, self.degradation = source, resolution, degradation
        self.seed, self.flip, self.labels = seed, flip, labels
        self.max_broken_share = max_broken_share
        # Shared memory: what one worker finds broken, all workers and the main process know.
        self._broken = torch.zeros(len(source.keys), dtype=torch.uint8).share_memory_()

    def __len__(self) -> int:
        return len(self.source.keys)

    @property
    def broken_keys(self) -> list[str]:
        """Keys of the samples found broken so far, by any worker."""
        return [self.source.keys[index] for index in torch.nonzero(self._broken).flatten().tolist()]

    def mark_broken(self, keys: Collection[str]) -> None:
        """Treats these samples as broken from now on, as the run did that found them so."""
        if keys:
            for index, key in enumerate(self.source.keys):
                if key in keys:
                    self._broken[index] = 1

    def check_broken_share(self) -> None:
        """Raises UserError if more than the allowed share of all samples is broken."""
        broken = int(self._broken.sum())
        if broken > self.max_broken_share * len(self):
            raise UnreadableDataError(
                f"{broken} of {len(self)} images cannot be read, for example "
                f"{', '.join(self.broken_keys[:3])}: mend or remove them, or raise "
                "data.max_broken_share."
            )

    def __getitem__(self, draw: Draw | int) -> dict[str, Any]:
        draw = draw if isinstance(draw, Draw) else Draw(0, draw)
        record, image = self._read(draw)
        high, item = self._original(record, image, self.is_flipped(draw.epoch, record.key))
        low = degrade(high, self.degradation, self.seed, draw.epoch, record.key)
        return item | {"lq": _to_tensor(low)}

    def is_flipped(self, epoch: int, key: str) -> bool:
        """Returns whether a sample is mirrored in an epoch."""
        return self.flip and bool(rng_for(self.seed, epoch, key, "flip").random() < 0.5)

    def original(self, draw: Draw, flipped: bool) -> dict[str, Any]:
        """Returns a draw's item without ``lq``, mirrored or not as told."""
        return self._original(*self._read(draw), flipped)[1]

    def _read(self, draw: Draw) -> tuple[Record, NDArray[np.uint8]]:
        for index in (draw.sample, *draw.spares):
            if not self._broken[index]:
                try:
                    record = self.source.read(index)
                    return record, decode_image(self._target(record, draw.epoch))
                except BrokenSample as error:
                    self._broken[index] = 1
                    key = self.source.keys[index]
                    logger.warning(
                        "Sample %s is broken (%s); another one takes its place.", key, error
                    )
                    self.check_broken_share()
        raise UnreadableDataError(
            f"Neither the image {self.source.keys[draw.sample]!r} nor any of its "
            f"{len(draw.spares)} replacements can be read: mend or remove the broken images."
        )

    def _target(self, record: Record, epoch: int) -> bytes:
        """The image, or in half of the draws its retouched version where both are meant."""
        if record.retouched is None:
            return record.image
        chosen = rng_for(self.seed, epoch, record.key, "target").random() < 0.5
        return record.retouched if chosen else record.image

    def _original(
        self, record: Record, image: NDArray[np.uint8], flipped: bool
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        height, width = image.shape[:2]
        high = fit_square(image, self.resolution)
        if flipped:
            high = np.asarray(cv2.flip(high, 1))  # many times as fast as a copy by NumPy
        item: dict[str, Any] = {
            "hq": _to_tensor(high),
            "key": record.key,
            "identity": torch.tensor(record.identity, dtype=torch.int64),
        }
        if self.labels is not None:
            points = self.labels.landmark_array(record.key, record.labels)
            points = fit_points(points, height, width, self.resolution)
            if flipped:
                points = self.labels.mirror_landmarks(points, self.resolution)
            item["landmarks"] = torch.from_numpy(points)
            item["attributes"] = self.labels.attribute_tensor(record.key, record.labels, flipped)
        return high, item


def _to_tensor(image: NDArray[Any]) -> torch.Tensor:
    """Maps uint8 (H, W, 3) to float32 (3, H, W) in [-1, 1]."""
    tensor = torch.from_numpy(np.stack(cv2.split(image)))
    return tensor.to(torch.float32).div_(127.5).sub_(1)
