"""Procedural face portraits: our own renderer, the embedded data set of small trainings."""

from datamodules.portraits.geometry import LANDMARK_NAMES
from datamodules.portraits.identity import ATTRIBUTES, Identity, sample_identity
from datamodules.portraits.nuisance import Nuisance, sample_nuisance
from datamodules.portraits.render import Portrait, render_portrait

__all__ = [
    "ATTRIBUTES",
    "LANDMARK_NAMES",
    "Identity",
    "Nuisance",
    "Portrait",
    "render_portrait",
    "sample_identity",
    "sample_nuisance",
]
