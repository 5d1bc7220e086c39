"""Metrics: means over images, with a specification of what each figure depends on."""

import difflib
from pathlib import Path

from osdface.errors import UserError
from osdface.extensions import find_class
from osdface.metrics.identity import IdentitySimilarity
from osdface.metrics.per_image import PerImageMean
from osdface.metrics.perceptual import PerceptualDistance
from osdface.metrics.pixel import PixelMetrics
from osdface.metrics.restoration import RestorationMetrics

__all__ = [
    "IdentitySimilarity",
    "PerImageMean",
    "PerceptualDistance",
    "PixelMetrics",
    "RestorationMetrics",
    "build_metric",
]


def build_metric(name: str) -> PerImageMean:
    """Returns the metric of a file of this folder: its class of that ``name``, without arguments.

    Raises:
        UserError: There is no such file or class.
    """
    own = find_class(__name__, name, PerImageMean)
    if own is None:
        files = [path.stem for path in Path(__file__).parent.glob("*.py")]
        near = difflib.get_close_matches(name, files, n=1)
        hint = f"; the nearest file is {near[0]}.py" if near else ""
        raise UserError(
            f"There is no metric {name!r}: it wants a file osdface/metrics/{name}.py with a "
            f"PerImageMean whose name is {name!r}{hint}."
        )
    return own()
