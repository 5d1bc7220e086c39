"""What each process does: its share of the images, decoded once, measured in batches."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from experiments.evaluation.cache import FeatureCache, FigureCache, digest
from experiments.evaluation.pairing import Item
from osdface.devices import exact_inference
from osdface.metrics.feature_statistics import FeatureStatistics
from osdface.metrics.features import FeatureMoments, KernelDistance
from osdface.metrics.per_image import PerImageMean
from osdface.metrics.suites import SuiteSettings, build_features, build_suite
from osdface.picture_reading import decode_picture
from osdface.pictures import UnreadablePicture

RESTORED, REFERENCE, FURTHER = "restored", "reference", "fid_reference"
Tell = Callable[[int], None]
_TOGETHER = 64  # features that are added up at once


@dataclass(frozen=True)
class Plan:
    """What is to be measured.

    Attributes:
        items: The images.
        further: Images that only FID or KID compares with.
        columns: Which figures.
        settings: By which networks.
        kernel: With which set KID compares, :data:`REFERENCE` or :data:`FURTHER`; None without KID.
        cache: Folder of what is known already.
        device: Of the networks.
        batch: Images at once.
    """

    items: tuple[Item, ...]
    further: tuple[Path, ...]
    columns: tuple[str, ...]
    settings: SuiteSettings
    kernel: str | None
    cache: Path
    device: str
    batch: int = 4


@dataclass
class Measured:
    """What came of it.

    Attributes:
        values: Column -> mean over all images; of KID its figure.
        rows: Key -> column -> figure, of this process's images.
        statistics: Of the features of each set of images.
        unreadable: What could not be decoded, or not compared.
    """

    values: dict[str, float] = field(default_factory=dict)
    rows: dict[str, dict[str, float]] = field(default_factory=dict)
    statistics: dict[str, FeatureStatistics] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)


class _Means(PerImageMean):
    """Means of figures that are given, name -> (B,)."""

    def update(self, figures: dict[str, Tensor]) -> None:  # type: ignore[override]
        self.add(figures)


@dataclass
class _Pending:
    """An image that waits for others of its size."""

    item: Item
    key: str
    images: tuple[Tensor, ...]
    hashes: tuple[str, ...]
    figures: dict[str, float]


class Worker:
    """Measures a share of a plan.

    Args:
        plan: The whole.
        rank: Which share.
        world: Of how many; metrics add up over torch.distributed where it is initialized.

    Raises:
        UserError: A weight file or library is missing.
    """

    def __init__(self, plan: Plan, rank: int = 0, world: int = 1) -> None:
        self.plan, self.rank, self.world = plan, rank, world
        self.device = torch.device(plan.device)
        # Convolutions of the CPU take a third less in this layout.
        layout = {"device": self.device, "memory_format": torch.channels_last}
        self.suite = build_suite(plan.columns, plan.settings).to(**layout)
        network = build_features(plan.columns, plan.settings)
        self.network = network.to(**layout) if network else None
        self.figures = FigureCache(plan.cache, self.suite.specification())
        self.result = Measured()
        self.means = _Means(self.suite.names)
        self.moments: dict[str, FeatureMoments] = {}
        if self.network:
            self.features = FeatureCache(plan.cache, self.network.identity)
            self._prepare_sets(self.network.dimension, self.network.identity)

    def _prepare_sets(self, dimension: int, identity: str) -> None:
        names = [RESTORED]
        if "fid_hq" in self.plan.columns or self.plan.kernel == REFERENCE:
            names.append(REFERENCE)
        if self.plan.further:
            names.append(FURTHER)
        self.moments = {name: FeatureMoments(dimension, identity) for name in names}
        self.buffers: dict[str, list[Tensor]] = {name: [] for name in names}
        self.kernel = KernelDistance()
        for of_reference in (False, True):  # so that no process comes with nothing
            self.kernel.update(torch.zeros(0, dimension), of_reference)

    def run(self, tell: Tell) -> Measured:
        """Measures the share and adds up; ``tell`` hears how many images are done."""
        with exact_inference():
            waiting: dict[tuple[int, ...], list[_Pending]] = {}
            for item in self.plan.items[self.rank :: self.world]:
                pending = self._prepared(item)
                if pending is None:
                    tell(1)
                    continue
                group = waiting.setdefault(tuple(pending.images[0].shape), [])
                group.append(pending)
                if len(group) == self.plan.batch:
                    self._measure(group)
                    tell(len(group))
                    group.clear()
            for group in filter(None, waiting.values()):
                self._measure(group)
                tell(len(group))
            for paths in self._batches(self.plan.further[self.rank :: self.world]):
                self._add_further(paths)
                tell(len(paths))
            return self._reduced()

    def _batches(self, paths: tuple[Path, ...]) -> Iterator[tuple[Path, ...]]:
        for start in range(0, len(paths), self.plan.batch):
            yield paths[start : start + self.plan.batch]

    def _prepared(self, item: Item) -> _Pending | None:
        """Reads an image and its original; those of which all is known are done at once."""
        try:
            paths = [path for path in (item.restored, item.reference) if path]
            data = [path.read_bytes() for path in paths]
            hashes = tuple(map(digest, data))
            key = ":".join(hashes)
            known = self.figures.get(key)
            if len(known) == len(self.suite.names) and self._all_features(hashes):
                self._count(item, known, hashes)
                return None
            images = tuple(_decoded(*each) for each in zip(data, paths, strict=True))
        except (UnreadablePicture, OSError) as error:
            self.result.unreadable.append(str(error))
            return None
        if len({image.shape for image in images}) > 1:  # EXIF may turn what the head says
            self.result.unreadable.append(f"{item.restored}: of another size than its original")
            return None
        return _Pending(item, key, images, hashes, known)

    def _sets(self) -> list[str]:
        return [name for name in (RESTORED, REFERENCE) if name in self.moments]

    def _all_features(self, hashes: tuple[str, ...]) -> bool:
        return all(
            self.features.get(each) is not None
            for each, _ in zip(hashes, self._sets(), strict=False)
        )

    def _measure(self, group: list[_Pending]) -> None:
        pairs = zip(*(pending.images for pending in group), strict=True)
        stacked = [self._batch(each) for each in pairs]
        lacking = {name for name in self.suite.names for p in group if name not in p.figures}
        if lacking:
            target = stacked[1] if len(stacked) > 1 else None
            found = self.suite.per_image(stacked[0], target, lacking)
            for number, pending in enumerate(group):
                fresh = {name: float(column[number]) for name, column in found.items()}
                pending.figures.update(fresh)
                self.figures.put(pending.key, fresh)
        for which, _ in enumerate(self._sets()):
            self._extract([p.hashes[which] for p in group], stacked[which])
        for pending in group:
            self._count(pending.item, pending.figures, pending.hashes)

    def _batch(self, images: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(images)).to(self.device, memory_format=torch.channels_last)

    def _extract(self, hashes: list[str], images: Tensor) -> None:
        lacking = {key: i for i, key in enumerate(hashes) if self.features.get(key) is None}
        if lacking:
            assert self.network is not None
            found = self.network(images[list(lacking.values())]).cpu()
            self.features.put(dict(zip(lacking, found, strict=True)))

    def _count(self, item: Item, figures: dict[str, float], hashes: tuple[str, ...]) -> None:
        self.result.rows[item.key] = {name: figures[name] for name in self.suite.names}
        if self.suite.names:
            columns = {k: torch.tensor([figures[k]], dtype=torch.float64) for k in self.suite.names}
            self.means.update(columns)
        for name, key in zip(self._sets(), hashes, strict=False):
            self._add_features(name, [key])

    def _add_features(self, name: str, keys: list[str]) -> None:
        """Adds features in large batches: products of 2,048 by 2,048 cost as much for one image."""
        held = (self.features.get(key) for key in keys)
        self.buffers[name] += [each for each in held if each is not None]
        if len(self.buffers[name]) >= _TOGETHER:
            self._flush(name)

    def _flush(self, name: str) -> None:
        if not self.buffers[name]:
            return
        features = torch.stack(self.buffers[name])
        self.buffers[name].clear()
        self.moments[name].update(features)
        if self.plan.kernel and name in (RESTORED, self.plan.kernel):
            self.kernel.update(features, reference=name != RESTORED)

    def _add_further(self, paths: tuple[Path, ...]) -> None:
        keys: list[str] = []
        for path in paths:
            try:
                data = path.read_bytes()
                key = digest(data)
                if self.features.get(key) is None:
                    self._extract([key], self._batch([_decoded(data, path)]))
                keys.append(key)
            except (UnreadablePicture, OSError) as error:
                self.result.unreadable.append(str(error))
        if keys:
            self._add_features(FURTHER, keys)

    def _reduced(self) -> Measured:
        """Adds up over all processes, each of which must call it."""
        for name in self.moments:
            self._flush(name)
        if self.suite.names:
            self.result.values = dict(self.means.compute())
        self.result.statistics = {name: each.compute() for name, each in self.moments.items()}
        if self.plan.kernel:
            self.result.values["kid"] = self.kernel.compute()
        return self.result


def _decoded(data: bytes, path: Path) -> Tensor:
    pixels = np.ascontiguousarray(decode_picture(data, str(path)).rgb_bytes().transpose(2, 0, 1))
    return torch.from_numpy(pixels).to(torch.float32).div_(127.5).sub_(1)
