"""Metrics: means over images, with a specification of what each figure depends on."""

from osdface.metrics.identity import IdentitySimilarity
from osdface.metrics.perceptual import PerceptualDistance
from osdface.metrics.pixel import PixelMetrics
from osdface.metrics.restoration import RestorationMetrics

__all__ = ["IdentitySimilarity", "PerceptualDistance", "PixelMetrics", "RestorationMetrics"]
