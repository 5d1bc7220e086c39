"""Images read, hashed and decoded by threads ahead of the networks that measure them."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from experiments.evaluation.cache import digest
from experiments.evaluation.images import ImageFile
from experiments.evaluation.pairing import Item
from osdface.picture_reading import decode_picture
from osdface.pictures import UnreadablePicture

_THREADS, _AHEAD = 2, 8
_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


@dataclass
class Loaded:
    """An image and its original.

    Attributes:
        item: Which.
        hashes: Of their bytes.
        images: (3, H, W) each, float32 in [-1, 1]; empty where all about them is known already.
        fault: Kind and sentence where it cannot be measured; else None.
        figures: What is known or measured of them.
    """

    item: Item
    hashes: tuple[str, ...] = ()
    images: tuple[Tensor, ...] = ()
    fault: tuple[str, str] | None = None
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What figures are kept by."""
        return ":".join(self.hashes)


def load(item: Item, is_known: Callable[[tuple[str, ...]], bool]) -> Loaded:
    """Reads an image and its original; those that ``is_known`` by their hashes are not decoded."""
    loaded = Loaded(item)
    try:
        data = [image.read() for image in item.images]
        loaded.hashes = tuple(map(digest, data))
        if is_known(loaded.hashes):
            return loaded
        loaded.images = tuple(decoded(*each) for each in zip(data, item.images, strict=True))
    except (UnreadablePicture, OSError) as error:
        loaded.fault = ("unreadable", str(error))
        return loaded
    sizes = [f"{image.shape[2]}x{image.shape[1]}" for image in loaded.images]
    if len(set(sizes)) > 1:  # EXIF may turn what the head says
        loaded.fault = ("size", f"{item.restored.name}: {sizes[0]}, its original {sizes[1]}")
    return loaded


def decoded(data: bytes, image: ImageFile) -> Tensor:
    """Returns a picture as (3, H, W), float32 in [-1, 1]; UnreadablePicture if it is none."""
    pixels = decode_picture(data, image.name).rgb_bytes().transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(torch.float32).div_(127.5).sub_(1)


def ahead(call: Callable[[_Given], _Made], things: Iterable[_Given]) -> Iterator[_Made]:
    """Yields ``call`` of each thing in order; threads are some things ahead."""
    with ThreadPoolExecutor(_THREADS) as pool:
        waiting: deque[Future[_Made]] = deque()
        for thing in things:
            waiting.append(pool.submit(call, thing))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
