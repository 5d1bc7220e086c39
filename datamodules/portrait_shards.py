"""Renders the procedural portraits into shards, once."""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

import datamodules.portraits as portraits
from datamodules.labels import LabelSet
from datamodules.shards.writer import MANIFEST, write_shards
from osdface.errors import UserError
from osdface.files import atomic_folder, locked

PORTRAIT_LABELS = LabelSet(portraits.ATTRIBUTES, portraits.LANDMARK_NAMES)


@dataclass(frozen=True)
class PortraitSettings:
    """What is rendered.

    Attributes:
        resolution: Side in pixels.
        identities: People for training.
        variations: Pictures of each of them.
        val_identities: Further people, for validation.
        val_variations: Pictures of each of those.
        seed: Population.
        shard_size: Samples a shard.

    Raises:
        UserError: A number is below 1.
    """

    resolution: int
    identities: int
    variations: int
    val_identities: int
    val_variations: int
    seed: int = 0
    shard_size: int = 1000

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < (0 if name == "seed" else 1):
                raise UserError(f"data.{name} is {value}: give at least 1.")

    def pictures(self, split: str) -> list[tuple[int, int]]:
        """Returns (identity, variation) of all pictures of "train" or "val"."""
        first, people, each = {
            "train": (0, self.identities, self.variations),
            "val": (self.identities, self.val_identities, self.val_variations),
        }[split]
        return [
            (first + person, variation) for person in range(people) for variation in range(each)
        ]


def portraits_dir(settings: PortraitSettings, cache_dir: str | Path) -> Path:
    """Returns the folder of these portraits; its name changes with settings and renderer."""
    digest = hashlib.blake2b(json.dumps(asdict(settings)).encode(), digest_size=6)
    for path in sorted(Path(portraits.__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return Path(cache_dir) / f"portraits-{digest.hexdigest()}"


def prepare_portraits(
    settings: PortraitSettings, cache_dir: str | Path, workers: int = 1, progress: bool = True
) -> Path:
    """Renders the portraits unless they are there, and returns their folder.

    The folder appears under its name when it is whole. Two processes that start at once do the work
    once: the second one waits.

    Args:
        settings: What is rendered.
        cache_dir: Folder that holds the folder.
        workers: Processes that render; 0 or 1 renders in this one.
        progress: Whether a bar with the remaining time is shown.

    Raises:
        UserError: The folder cannot be written.
    """
    folder = portraits_dir(settings, cache_dir)
    if (folder / MANIFEST).exists():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_name(f".{folder.name}.lock")):
            if not (folder / MANIFEST).exists():
                with atomic_folder(folder) as temporary:
                    for split in ("train", "val"):
                        samples = _render_all(settings, split, workers, progress)
                        write_shards(
                            samples, temporary, split, settings.shard_size, asdict(settings)
                        )
    except OSError as error:
        raise UserError(
            f"The portraits cannot be written below {cache_dir} ({error.strerror}): set cache_dir "
            "to a folder with space that you may write to."
        ) from error
    return folder


def _render_all(
    settings: PortraitSettings, split: str, workers: int, progress: bool
) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    jobs = [(settings.seed, *picture, settings.resolution) for picture in settings.pictures(split)]
    bar = tqdm(total=len(jobs), desc=f"rendering {split} portraits", disable=not progress)
    with bar:
        if workers <= 1:
            for job in jobs:
                yield _render(job)
                bar.update()
            return
        with ProcessPoolExecutor(workers) as pool:
            for sample in pool.map(_render, jobs, chunksize=8):
                yield sample
                bar.update()


def _render(job: tuple[int, int, int, int]) -> tuple[str, bytes, dict[str, Any]]:
    seed, identity, variation, resolution = job
    cv2.setNumThreads(1)
    portrait = portraits.render_portrait(seed, identity, variation, resolution)
    done, encoded = cv2.imencode(".png", cv2.cvtColor(portrait.image, cv2.COLOR_RGB2BGR))
    if not done:
        raise RuntimeError("OpenCV could not encode a PNG image")
    labels = {
        "identity": portrait.identity,
        "attributes": {name: int(number) for name, number in portrait.attributes.items()},
        "landmarks": [[round(x, 3), round(y, 3)] for x, y in portrait.landmarks.tolist()],
    }
    return f"{identity:06d}_{variation:04d}", encoded.tobytes(), labels
