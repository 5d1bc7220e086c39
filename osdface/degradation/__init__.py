"""Degradation of high-quality faces into training and test pairs."""

from osdface.degradation.parameters import Parameters, sample_parameters
from osdface.degradation.pipeline import apply, degrade
from osdface.degradation.presets import PRESETS, build_degradation
from osdface.degradation.ranges import Degradation
from osdface.degradation.seeding import rng_for, stable_hash

__all__ = [
    "PRESETS",
    "Degradation",
    "Parameters",
    "apply",
    "build_degradation",
    "degrade",
    "rng_for",
    "sample_parameters",
    "stable_hash",
]
