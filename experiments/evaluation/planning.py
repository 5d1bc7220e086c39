"""From folders and names to a plan, and from what was measured to a suite's figures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.evaluation.images import ImageFile, find_images
from experiments.evaluation.pairing import Item
from experiments.evaluation.plan import Measured, Plan
from experiments.evaluation.sets import FURTHER, REFERENCE, RESTORED
from osdface.errors import UserError
from osdface.metrics.feature_statistics import SUFFIXES, FeatureStatistics, frechet_distance
from osdface.metrics.specification import Specification
from osdface.metrics.suites import FFHQ_STATISTICS, PAIRED, SuiteSettings, specifications
from osdface.networks.features import INCEPTION
from osdface.paths import find_weight

_TO_FURTHER = ("fid_ffhq", "fid")


@dataclass(frozen=True)
class Comparison:
    """What FID compares with, besides the originals.

    Attributes:
        images: Of a folder, or of shards.
        statistics: Of a file.
        text: What it is, for the reader of a figure.
    """

    images: tuple[ImageFile, ...] = ()
    statistics: FeatureStatistics | None = None
    text: str = ""


def find_comparison(
    columns: Sequence[str], given: str | None, settings: SuiteSettings
) -> Comparison:
    """Returns what ``fid_reference=`` names, or FFHQ's statistics where a column needs them.

    Raises:
        UserError: It is missing or no such thing, or there is none for a stand-in network.
    """
    needed = set(columns) & set(_TO_FURTHER)
    if not needed and (given is None or "kid" not in columns):
        return Comparison()
    if given is None:
        if settings.features != INCEPTION:
            raise UserError(
                f"features={settings.features} cannot be held against FFHQ's statistics: give "
                "fid_reference=DIR, or leave FID out with metrics=."
            )
        path = find_weight(FFHQ_STATISTICS, settings.weights_dir)
        return Comparison((), FeatureStatistics.load(path), f"against {path.name}")
    path = Path(given).expanduser()
    if path.suffix in SUFFIXES and not path.is_dir():
        held = FeatureStatistics.load(path)
        return Comparison((), held, f"against {path.name} ({held.count or 'unknown'} images)")
    found, damage = find_images(given, "fid_reference")
    if damage:
        raise UserError(f"fid_reference= cannot be read: {damage[0]}.")
    return Comparison(tuple(found.values()), None, f"against {len(found)} images of {path.name}")


def check_columns(columns: Sequence[str], paired: bool) -> None:
    """Raises UserError if a column needs originals and there are none."""
    lacking = [name for name in columns if name in PAIRED]
    if lacking and not paired:
        raise UserError(
            f"{', '.join(lacking)} need reference=DIR, the originals; metrics= chooses others."
        )


def make_plan(
    items: Sequence[Item],
    columns: tuple[str, ...],
    settings: SuiteSettings,
    comparison: Comparison,
    cache: Path,
    batch: int,
) -> Plan:
    """Returns a plan for the device that is chosen later.

    Raises:
        UserError: KID has nothing to compare with.
    """
    kernel = None
    if "kid" in columns:
        kernel = REFERENCE if items[0].reference else FURTHER
        if kernel == FURTHER and not comparison.images:
            raise UserError("kid needs images: reference=DIR, or an fid_reference=DIR of images.")
    return Plan(tuple(items), comparison.images, columns, settings, kernel, cache, "cpu", batch)


def figures_of(measured: Measured, plan: Plan, comparison: Comparison) -> dict[str, float]:
    """Returns column -> figure, in the order of the plan's columns.

    Raises:
        UserError: Statistics of two networks were to be compared.
    """
    values = dict(measured.values)
    further = comparison.statistics or measured.statistics.get(FURTHER)
    for name in plan.columns:
        other = further if name in _TO_FURTHER else measured.statistics.get(REFERENCE)
        if name in ("fid_hq", *_TO_FURTHER):
            assert other is not None
            values[name] = frechet_distance(measured.statistics[RESTORED], other)
    return {name: values[name] for name in plan.columns}


def specified(
    columns: Sequence[str], settings: SuiteSettings, comparison: Comparison, paired: bool
) -> dict[str, Specification]:
    """Returns what every column rests on, what FID and KID compare with included.

    Raises:
        UserError: A weight file is missing.
    """
    found = specifications(columns, settings)
    originals = "against the originals"
    for name, each in found.items():
        if name in _TO_FURTHER:
            found[name] = replace(each, statistics=comparison.text)
        elif name == "fid_hq":
            found[name] = replace(each, statistics=originals)
        elif name == "kid":
            found[name] = replace(each, statistics=originals if paired else comparison.text)
    return found
