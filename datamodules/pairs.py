"""Evaluation sets: pairs of HQ and LQ images by name, and images without a reference."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from datamodules.decoding import decode_image
from datamodules.folders import FolderSource
from datamodules.records import BrokenSample, Source
from datamodules.shards import Remote, ShardSource, split_urls
from osdface.errors import UserError

# Images in the field's evaluation sets.
COUNTS = {"celeba_test": 3000, "wider_test": 970, "lfw_test": 1711, "webphoto_test": 407}


def open_images(place: str | Path, remote: Remote | None = None) -> Source:
    """Opens a folder of images, shards, or a folder of shards with a manifest.

    Args:
        place: A folder; or shards as :func:`~datamodules.shards.urls.expand_urls` takes them. Of a
            manifest the split "test" is taken, or else its only one.
        remote: How remote shards are read.

    Raises:
        UserError: Nothing there.
    """
    text = str(place)
    if ".tar" in text or text.startswith("pipe:"):
        return ShardSource(text, identity_from="none", remote=remote)
    if next(Path(place).glob("*.tar"), None) is None:
        return FolderSource(place, "none")
    splits = [names for split in ("test", "val", "train") if (names := split_urls(place, split))]
    if len(splits) != 1 and not split_urls(place, "test"):
        raise UserError(f"{place} holds more than one split: name the shards, '{place}/val-*.tar'.")
    return ShardSource(splits[0], place, "none", remote=remote)


class UnpairedImages(Dataset[dict[str, Any]]):
    """Low-quality images without a reference, such as LFW-Test.

    Args:
        lq: See :func:`open_images`.
        expected: How many there must be: a number, or a name in :data:`COUNTS`; None accepts any.
        remote: How remote shards are read.

    Returns of an item:
        ``lq``: float32 (3, H, W) in [-1, 1]; ``key``: str.

    Raises:
        UserError: Another number of images; an image that cannot be read, when it is asked for.
    """

    def __init__(
        self, lq: str | Path, expected: int | str | None = None, remote: Remote | None = None
    ) -> None:
        self.lq = open_images(lq, remote)
        self.keys = list(self.lq.keys)
        check_count(len(self.keys), expected, str(lq))

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"lq": _tensor(_read(self.lq, index)), "key": self.keys[index]}


class PairedImages(Dataset[dict[str, Any]]):
    """Pairs of a reference and a degraded image of the same key (stem), such as CelebA-Test.

    Args:
        hq: See :func:`open_images`.
        lq: Likewise.
        expected: See :class:`UnpairedImages`.
        check_sizes: Whether the sizes of all pairs are compared at once, by the images' heads.
        remote: How remote shards are read.

    Returns of an item:
        ``hq`` and ``lq``: float32 (3, H, W) in [-1, 1]; ``key``: str. In the order of the keys.

    Raises:
        UserError: An image without a partner, or of another size than its partner, all listed;
            another number of pairs.
    """

    def __init__(
        self,
        hq: str | Path,
        lq: str | Path,
        expected: int | str | None = None,
        check_sizes: bool = True,
        remote: Remote | None = None,
    ) -> None:
        self.hq, self.lq = open_images(hq, remote), open_images(lq, remote)
        places = [{key: n for n, key in enumerate(each.keys)} for each in (self.hq, self.lq)]
        for own, other, where, beside in ((*places, lq, hq), (*places[::-1], hq, lq)):
            if missing := sorted(own.keys() - other.keys()):
                raise UserError(
                    f"{where} lacks {listed(missing)}, which {beside} holds: pairs have the same "
                    "name without suffix."
                )
        self.keys = sorted(places[0])
        self._numbers = [(places[0][key], places[1][key]) for key in self.keys]
        check_count(len(self.keys), expected, f"{hq} and {lq}")
        if check_sizes:
            self._check_sizes()

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> dict[str, Any]:
        numbers, key = self._numbers[index], self.keys[index]
        high, low = (_read(*each) for each in zip((self.hq, self.lq), numbers, strict=True))
        if high.shape != low.shape:
            raise UserError(_different([(key, high.shape[1::-1], low.shape[1::-1])]))
        return {"hq": _tensor(high), "lq": _tensor(low), "key": key}

    def _check_sizes(self) -> None:
        differing = []
        for key, (high, low) in zip(self.keys, self._numbers, strict=True):
            sizes = _size(self.hq, high), _size(self.lq, low)
            if sizes[0] != sizes[1]:
                differing.append((key, *sizes))
        if differing:
            raise UserError(_different(differing))


def check_count(found: int, expected: int | str | None, where: str) -> None:
    """Raises UserError if ``found`` is not what is expected; None expects nothing."""
    if isinstance(expected, str):
        if expected not in COUNTS:
            raise UserError(f"No known set is called {expected!r}: choose {', '.join(COUNTS)}.")
        expected = COUNTS[expected]
    if expected is not None and found != expected:
        raise UserError(f"{where} holds {found} images instead of {expected}: complete the set.")


def listed(names: Sequence[str], most: int = 10) -> str:
    """Returns names for a sentence, the first ones of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} image(s): {', '.join(names[:most])}{more}"


def _different(pairs: Sequence[tuple[str, Any, Any]]) -> str:
    texts = [f"{key} ({h[0]}x{h[1]} and {w[0]}x{w[1]})" for key, h, w in pairs]
    return f"HQ and LQ differ in size in {listed(texts)}: bring both to one size."


def _read(source: Source, index: int) -> np.ndarray:
    try:
        return decode_image(source.read(index).image)
    except BrokenSample as error:
        raise UserError(f"The image {source.keys[index]!r} cannot be read ({error}).") from error


def _size(source: Source, index: int) -> tuple[int, int]:
    """Width and height by the image's head; an evaluation leaves nothing out, so none may fail."""
    try:
        with Image.open(io.BytesIO(source.read(index).image)) as image:
            turned = image.getexif().get(274, 1) >= 5  # EXIF: a quarter turn
            return (image.height, image.width) if turned else (image.width, image.height)
    except (BrokenSample, OSError) as error:
        raise UserError(f"The image {source.keys[index]!r} cannot be read ({error}).") from error


def _tensor(image: np.ndarray) -> torch.Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    return tensor.to(torch.float32).div_(127.5).sub_(1)
