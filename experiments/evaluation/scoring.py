"""The seam between whoever has restored images and the metrics: two folders in, figures out.

``experiments.benchmark`` calls :func:`measures` once, before anything runs, and :func:`score` once
a method. Columns are named as in the paper's tables (``experiments/baselines/paper.py``); PSNR and
SSIM are shown behind them.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from experiments.evaluation.pairing import find_pairs
from experiments.evaluation.planning import (
    check_columns,
    figures_of,
    find_comparison,
    make_plan,
    specified,
)
from experiments.evaluation.processes import devices_of, measure
from osdface.errors import UserError
from osdface.metrics.suites import OF_SETS, SUITES, SuiteSettings, chosen

BESIDE = {"celeba_test": ("psnr", "ssim"), "real_world": ()}


@dataclass(frozen=True)
class ScoringSettings:
    """What scores; None of a network leaves its figures out.

    Attributes:
        perceptual: Trunk of LPIPS and DISTS (:func:`osdface.networks.perceptual.load_trunk`).
        identity: Network of Deg. (:func:`osdface.networks.identity.load_identity`).
        landmarks: Network of LMD (:func:`osdface.networks.landmarks.load_landmarks`).
        features: Network of FID (:func:`osdface.networks.features.load_features`).
        weights_dir: Where their files are.
        device: None takes the first that is there.
        metrics: Columns; None takes the suite's, and PSNR and SSIM where there are originals.
        fid_reference: Folder or statistics that FID compares with; None takes FFHQ's.
        cache: Folder of what is known already; None keeps nothing.
    """

    perceptual: str | None = "vgg16"
    identity: str | None = "arcface_resnet18"
    landmarks: str | None = "awing_fan"
    features: str | None = "inception"
    weights_dir: str | None = None
    device: str | None = None
    metrics: tuple[str, ...] | None = None
    fid_reference: str | None = None
    cache: str | None = None

    def columns(self, suite: str) -> tuple[str, ...]:
        """Returns the columns that are measured; UserError for an unknown suite or column."""
        names = chosen(suite, self.metrics)
        if self.metrics is None:
            names = (*BESIDE[suite], *names)
        without = {
            name
            for network, of_it in (
                (self.perceptual, ("lpips", "dists")),
                (self.identity, ("deg",)),
                (self.landmarks, ("lmd",)),
                (self.features, OF_SETS),
            )
            if network is None
            for name in of_it
        }
        return tuple(name for name in names if name not in without)

    def networks(self) -> SuiteSettings:
        """Returns the networks; those left out are never looked for."""
        return SuiteSettings(
            self.perceptual or "", None, self.identity or "", self.landmarks or "",
            self.features or "", self.weights_dir,
        )  # fmt: skip


@dataclass(frozen=True)
class Measure:
    """What a column is.

    Attributes:
        text: How it is computed and on which weights.
        comparable: Whether it may be held against published figures.
    """

    text: str
    comparable: bool


def measures(suite: str, settings: ScoringSettings | None = None) -> dict[str, Measure]:
    """Returns what :func:`score` will give, column -> specification.

    Raises:
        UserError: There is no such suite, or a weight file is missing.
    """
    settings = settings or ScoringSettings()
    columns, networks = settings.columns(suite), settings.networks()
    devices_of(settings.device, 1)
    comparison = find_comparison(columns, settings.fid_reference, networks)
    found = specified(columns, networks, comparison, suite == "celeba_test")
    return {name: Measure(each.text(), each.comparable) for name, each in found.items()}


def score(
    restored_dir: str | Path,
    reference_dir: str | Path | None,
    suite: str,
    settings: ScoringSettings | None = None,
) -> dict[str, float]:
    """Returns the figures of a folder of restored images, column -> value.

    Args:
        restored_dir: Images, each of which is scored; paired with the references by stem.
        reference_dir: The originals, of the same sizes; None for a suite without.
        suite: One of :data:`~osdface.metrics.suites.SUITES`.
        settings: What scores.

    Raises:
        UserError: References are missing or of another size, or an image cannot be read.
    """
    settings = settings or ScoringSettings()
    columns, networks = settings.columns(suite), settings.networks()
    if not columns:
        return {}
    check_columns(columns, reference_dir is not None)
    comparison = find_comparison(columns, settings.fid_reference, networks)
    pairs = find_pairs(restored_dir, reference_dir, None)
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(settings.cache or folder)
        faults = {kind: told for kind, told in pairs.faults.items() if told and kind != "missing"}
        if faults or not pairs.items:
            kind, told = next(iter(faults.items()), ("", ["none"]))
            raise UserError(
                f"{restored_dir} and {reference_dir} cannot be compared, {kind}: {told[0]}."
            )
        plan = make_plan(pairs.items, columns, networks, comparison, cache, batch=4)
        measured = measure(plan, settings.device, 1, progress=False)
    for told in measured.faults.values():
        raise UserError(told[0])
    return figures_of(measured, plan, comparison)


__all__ = ["SUITES", "Measure", "ScoringSettings", "measures", "score"]
