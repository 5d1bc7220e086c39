"""What each process does: its share of the images, decoded once, measured in batches."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from experiments.evaluation.cache import FeatureCache, FigureCache, digest
from experiments.evaluation.images import ImageFile
from experiments.evaluation.pairing import Item
from experiments.evaluation.plan import Measured, Plan
from experiments.evaluation.reading import Loaded, ahead, decoded, load
from experiments.evaluation.sets import FURTHER, REFERENCE, RESTORED, FeatureSets
from osdface.devices import exact_inference
from osdface.metrics.per_image import FeatureComparison, PerImageMean
from osdface.metrics.suite_metrics import SuiteMetrics
from osdface.metrics.suites import (
    OF_SETS,
    build_features,
    build_suite,
    specifications,
)
from osdface.pictures import UnreadablePicture

Tell = Callable[[int], None]


class _Means(PerImageMean):
    """Means of figures that are given, name -> (B,)."""

    def update(self, figures: dict[str, Tensor]) -> None:  # type: ignore[override]
        self.add(figures)


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
        self.names = tuple(name for name in plan.columns if name not in OF_SETS)
        found = specifications(self.names, plan.settings)
        self.rests_on = {name: each.text() for name, each in found.items()}
        self.figures = FigureCache(plan.cache, self.rests_on)
        network = build_features(plan.columns, plan.settings)
        self.network = network.to(**self._layout) if network else None
        self.originals: dict[str, FeatureCache] = {}
        self.result = Measured()
        self.means = _Means(self.names)
        self.sets: FeatureSets | None = None
        self.of_items: tuple[str, ...] = ()  # which sets the images and their originals belong to
        if self.network:
            self.features = FeatureCache(plan.cache, self.network.identity)
            both = "fid_hq" in plan.columns or plan.kernel == REFERENCE
            self.of_items = (RESTORED, REFERENCE) if both else (RESTORED,)
            names = (*self.of_items, FURTHER) if plan.further else self.of_items
            self.sets = FeatureSets(
                names, self.network.dimension, self.network.identity, plan.kernel
            )

    @property
    def _layout(self) -> dict[str, Any]:
        # Convolutions of the CPU take a third less in this layout.
        return {"device": self.device, "memory_format": torch.channels_last}

    @cached_property
    def suite(self) -> SuiteMetrics:
        """The networks, which nobody waits for where all figures are known."""
        return build_suite(self.plan.columns, self.plan.settings).to(**self._layout)

    def run(self, tell: Tell) -> Measured:
        """Measures the share and adds up; ``tell`` hears how many images are done."""
        with exact_inference():
            for group in self._groups(self.plan.items[self.rank :: self.world], tell):
                self._measure(group)
                tell(len(group))
            further = self.plan.further[self.rank :: self.world]
            for start in range(0, len(further), self.plan.batch):
                images = further[start : start + self.plan.batch]
                self._add_further(images)
                tell(len(images))
            return self._reduced()

    def _groups(self, items: Sequence[Item], tell: Tell) -> Iterator[list[Loaded]]:
        """Images of one size; those of which all is known are counted at once."""
        waiting: dict[tuple[int, ...], list[Loaded]] = {}
        for loaded in ahead(lambda item: load(item, self._is_known), items):
            if loaded.fault:
                self.result.note(*loaded.fault)
                tell(1)
                continue
            loaded.figures = self.figures.get(loaded.key)
            if not loaded.images:
                self._count(loaded)
                tell(1)
                continue
            group = waiting.setdefault(tuple(loaded.images[0].shape), [])
            group.append(loaded)
            if len(group) == self.plan.batch:
                yield list(group)
                group.clear()
        yield from filter(None, waiting.values())

    def _is_known(self, hashes: tuple[str, ...]) -> bool:
        held = self.figures.get(":".join(hashes))
        return len(held) == len(self.names) and all(
            self.features.get(each) is not None
            for each, _ in zip(hashes, self.of_items, strict=False)
        )

    def _measure(self, group: list[Loaded]) -> None:
        stacked = [self._batch(each) for each in zip(*(p.images for p in group), strict=True)]
        lacking = {name for name in self.names for p in group if name not in p.figures}
        if lacking:
            target = stacked[1] if len(stacked) > 1 else None
            known = {
                column: self._of_originals(column, part, [p.hashes[1] for p in group], stacked[1])
                for column, part in self.suite.comparisons(lacking).items()
            }
            found = self.suite.per_image(stacked[0], target, lacking, known)
            for number, loaded in enumerate(group):
                fresh = {name: float(column[number]) for name, column in found.items()}
                loaded.figures.update(fresh)
                self.figures.put(loaded.key, fresh)
        for which, _ in enumerate(self.of_items):
            self._extract([p.hashes[which] for p in group], stacked[which])
        for loaded in group:
            self._count(loaded)

    def _batch(self, images: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(images)).to(self.device, memory_format=torch.channels_last)

    def _of_originals(
        self, column: str, part: FeatureComparison, hashes: list[str], images: Tensor
    ) -> Tensor:
        """Features (B, ...) of originals, computed once for every method held against them."""
        if column not in self.originals:
            network = f"{column} of originals, {self.rests_on[column]}"
            self.originals[column] = FeatureCache(self.plan.cache, network)
        cache = self.originals[column]
        _fill(cache, hashes, images, part.features)
        return torch.stack([cache.known[key] for key in hashes])

    def _extract(self, hashes: list[str], images: Tensor) -> None:
        assert self.network is not None
        _fill(self.features, hashes, images, self.network)

    def _count(self, loaded: Loaded) -> None:
        figures = loaded.figures
        self.result.rows[loaded.item.key] = {name: figures[name] for name in self.names}
        if self.names:
            columns = {k: torch.tensor([figures[k]], dtype=torch.float64) for k in self.names}
            self.means.update(columns)
        for name, key in zip(self.of_items, loaded.hashes, strict=False):
            assert self.sets is not None
            self.sets.add(name, [self.features.known[key]])

    def _add_further(self, images: Sequence[ImageFile]) -> None:
        assert self.sets is not None
        for image in images:
            try:
                data = image.read()
                key = digest(data)
                if self.features.get(key) is None:
                    self._extract([key], self._batch([decoded(data, image)]))
                self.sets.add(FURTHER, [self.features.known[key]])
            except (UnreadablePicture, OSError) as error:
                self.result.note("unreadable", str(error))

    def _reduced(self) -> Measured:
        """Adds up over all processes, each of which must call it."""
        if self.names:
            self.result.values = dict(self.means.compute())
        if self.sets:
            self.result.statistics, kernel = self.sets.compute()
            self.result.values |= kernel
        return self.result


def _fill(
    cache: FeatureCache, hashes: list[str], images: Tensor, network: Callable[[Tensor], Tensor]
) -> None:
    """Computes the features of those images (B, 3, H, W) that are not in the cache."""
    lacking = {key: i for i, key in enumerate(hashes) if cache.get(key) is None}
    if lacking:
        found = network(images[list(lacking.values())]).cpu()
        cache.put(dict(zip(lacking, found, strict=True)))
