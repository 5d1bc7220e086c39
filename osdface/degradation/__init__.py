"""Degradation of high-quality faces into training and test pairs."""

from osdface.degradation.pipeline import Parameters, apply, degrade, sample_parameters
from osdface.degradation.presets import PRESETS, Degradation, build_degradation
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
