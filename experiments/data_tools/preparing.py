"""From a picture file to an encoded square: what the worker processes do."""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datamodules.decoding import decode_image
from datamodules.records import BrokenSample

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Encoding:
    """How pictures are stored.

    Attributes:
        resolution: Side in pixels.
        format: "jpg", "webp" or "png".
        quality: 1 to 100; png ignores it.
        min_size: Least length of the shorter side of a file, pixels.
    """

    resolution: int = 512
    format: str = "jpg"
    quality: int = 95
    min_size: int = 0


def load_square(path: Path, resolution: int, min_size: int = 0) -> NDArray[np.uint8]:
    """Returns the central square of a file, resampled by Lanczos to (resolution, resolution, 3).

    Pillow's Lanczos widens its filter when it shrinks, and so does not alias.

    Raises:
        BrokenSample: The file cannot be read, is no image, cut off, or too small.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BrokenSample(f"cannot be read: {error.strerror}") from error
    image = decode_image(data)
    height, width = image.shape[:2]
    side = min(height, width)
    if side < min_size:
        raise BrokenSample(f"too small: {width}x{height}, min_size={min_size}")
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    if side == resolution:
        return np.ascontiguousarray(square)
    resized = Image.fromarray(square).resize((resolution, resolution), Image.Resampling.LANCZOS)
    return np.asarray(resized, dtype=np.uint8)


def encode(image: NDArray[np.uint8], suffix: str, quality: int = 95) -> bytes:
    """Encodes RGB (H, W, 3) as "jpg", "webp" or "png"; equal images give equal bytes."""
    options = {
        "jpg": [cv2.IMWRITE_JPEG_QUALITY, quality],
        "webp": [cv2.IMWRITE_WEBP_QUALITY, quality],
        "png": [],
    }[suffix]
    done, encoded = cv2.imencode(f".{suffix}", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise RuntimeError(f"OpenCV could not encode a {suffix} image")
    return bytes(encoded)


def prepare(path: Path, encoding: Encoding) -> bytes:
    """Returns a file as it is stored; raises :class:`BrokenSample` as :func:`load_square` does."""
    image = load_square(path, encoding.resolution, encoding.min_size)
    return encode(image, encoding.format, encoding.quality)


def in_order(work: Callable[[Job], Result], jobs: Iterable[Job], workers: int) -> Iterator[Result]:
    """Yields the results in the order of the jobs; few more than ``workers`` are under way."""
    if workers <= 1:
        yield from map(work, jobs)
        return
    waiting: deque[Future[Any]] = deque()
    with ProcessPoolExecutor(workers, initializer=_prepare_worker) as pool:
        try:
            for job in jobs:
                waiting.append(pool.submit(work, job))
                if len(waiting) > 8 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _prepare_worker() -> None:
    """One thread; deaf to Ctrl-C, which the main process answers; gone soon after its parent.

    A worker whose parent was killed would wait for its next job without end.
    """
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
