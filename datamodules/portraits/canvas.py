"""A square picture on which anti-aliased shapes are blended, in coordinates 0..1."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate, pairwise
from math import ceil, floor

import cv2
import numpy as np

from datamodules.portraits.raster import SHIFT, blurred, draw_lines, to_fixed

_MAX_SIGMA = 3.0  # wider blurs are done on a smaller grid: same look, constant cost

Colour = tuple[float, float, float] | np.ndarray


class Canvas:
    """An RGB picture of `size` by `size` pixels (8 bit) with blending of soft shapes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.image = np.zeros((size, size, 3), np.uint8)
        self._bounds = (0, 0, size, size)  # x0, y0, x1, y1 of the part that may be painted

    def _window(self, points: np.ndarray, margin: float, step: int) -> tuple[int, int, int, int]:
        """Returns the pixel box x0, y0, x1, y1 around points, in multiples of `step`."""
        unit = self.size / step
        x0, y0 = np.minimum.reduce(points).tolist()
        x1, y1 = np.maximum.reduce(points).tolist()
        return (
            floor(min(max(x0 - margin, 0.0), 1.0) * unit - 1) * step,
            floor(min(max(y0 - margin, 0.0), 1.0) * unit - 1) * step,
            ceil(min(max(x1 + margin, 0.0), 1.0) * unit + 1) * step,
            ceil(min(max(y1 + margin, 0.0), 1.0) * unit + 1) * step,
        )

    @contextmanager
    def inside(self, shape: np.ndarray) -> Iterator[None]:
        """Keeps everything painted in the `with` block inside the polygon (P, 2)."""
        cover, place = self.mask([shape])
        before, bounds = self.image[place].copy(), self._bounds
        self._bounds = (place[1].start, place[0].start, place[1].stop, place[0].stop)
        yield
        self._bounds = bounds
        after = self.image[place].astype(np.float32)
        self.image[place] = before
        self.blend(cover, place, after)

    def mask(
        self,
        shapes: list | np.ndarray,
        blur: float = 0.0,
        width: float = 0.0,
        closed: bool = False,
        alpha: float = 1.0,
    ) -> tuple[np.ndarray, tuple[slice, slice]]:
        """Rasterises filled polygons (width 0) or lines of `width` and returns coverage and place.

        Args:
            shapes: Point arrays (P, 2) in frame coordinates, or one array (N, P, 2).
            blur: Standard deviation of the softening, in frame widths.
            width: Line width in frame widths.
            closed: Whether lines are closed.
            alpha: Coverage inside the shapes.

        Returns:
            Coverage (h, w) float32 in 0..alpha and the two slices of the picture that it covers.
        """
        sigma = blur * self.size
        step = 1
        while sigma / step > _MAX_SIGMA and self.size / step > 64:
            step *= 2
        if isinstance(shapes, np.ndarray):
            points = shapes.reshape(-1, 2)
        else:
            points = shapes[0] if len(shapes) == 1 else np.concatenate(shapes)
        x0, y0, x1, y1 = self._window(points, 2.6 * blur + width, step)
        scale = self.size / step
        raster = np.zeros(((y1 - y0) // step, (x1 - x0) // step), np.uint8)
        origin = (x0 / step, y0 / step)
        gain = 1.0
        pixels = to_fixed(points, scale, origin)
        ends = accumulate(map(len, shapes), initial=0)
        fixed = [pixels[a:b] for a, b in pairwise(ends)]
        if width > 0.0:
            thick = width * scale
            gain = min(1.0, thick / max(1, round(thick)))
            draw_lines(raster, fixed, 255, thick, closed)
        else:
            for shape in fixed:
                cv2.fillPoly(raster, [shape], 255, cv2.LINE_AA, SHIFT)
        if sigma > 0.0:
            raster = blurred(raster, max(sigma / step, 0.3))
        if step > 1:
            raster = cv2.resize(
                raster.astype(np.uint8), (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR
            )
        left, top = max(self._bounds[0], x0), max(self._bounds[1], y0)
        right, bottom = max(left, min(self._bounds[2], x1)), max(top, min(self._bounds[3], y1))
        cut = raster[top - y0 : bottom - y0, left - x0 : right - x0]
        cover = cut.astype(np.float32)
        cover *= gain / 255.0
        if alpha != 1.0:
            cover *= alpha
        return cover, (slice(top, bottom), slice(left, right))

    def blend(self, coverage: np.ndarray, place: tuple[slice, slice], paint: Colour) -> None:
        """Mixes `paint` (a colour, or an (h, w, 3) array) into the picture by coverage (h, w)."""
        region = self.image[place]
        if region.size == 0:
            return
        if isinstance(paint, np.ndarray) and paint.ndim == 3:
            paint = np.minimum(paint, np.float32(255.0), dtype=np.float32)
        else:
            red, green, blue = paint
            paint = (min(float(red), 255.0), min(float(green), 255.0), min(float(blue), 255.0), 0.0)
        # cv2 because NumPy spreads a colour or a coverage over the channels many times slower.
        change = cv2.subtract(region, paint, dtype=cv2.CV_32F)
        cv2.multiply(change, cv2.cvtColor(coverage, cv2.COLOR_GRAY2RGB), change)
        change = cv2.subtract(region, change, dtype=cv2.CV_32F)
        change += 0.5  # the cast cuts, this rounds
        self.image[place] = change

    def multiply(self, coverage: np.ndarray, place: tuple[slice, slice], factor: Colour) -> None:
        """Multiplies the picture by `factor` (3 numbers up to 1), in full where coverage is 1."""
        region = self.image[place]
        if region.size == 0:
            return
        gain = cv2.merge([coverage * (np.float32(part) - 1.0) for part in factor])
        gain += 1.0
        cv2.multiply(gain, region, gain, dtype=cv2.CV_32F)
        gain += 0.5
        self.image[place] = gain

    def fill(self, shape: np.ndarray, paint: Colour, alpha: float = 1.0, blur: float = 0.0) -> None:
        """Fills the polygon (P, 2) with a colour."""
        self.blend(*self.mask([shape], blur, alpha=alpha), paint)

    def stroke(
        self,
        lines: list | np.ndarray,
        paint: Colour,
        width: float,
        alpha: float = 1.0,
        blur: float = 0.0,
        closed: bool = False,
    ) -> None:
        """Draws lines (P, 2) of a colour and a width in frame widths."""
        if len(lines):
            self.blend(*self.mask(lines, blur, width, closed, alpha), paint)

    def shade(
        self,
        shapes: list | np.ndarray,
        factor: Colour,
        alpha: float = 1.0,
        blur: float = 0.0,
        width: float = 0.0,
    ) -> None:
        """Darkens (or tints) the picture under polygons or lines by a factor per channel."""
        if len(shapes):
            self.multiply(*self.mask(shapes, blur, width, alpha=alpha), factor)

    def layer(self, colour: Colour) -> np.ndarray:
        """Returns an empty RGBA picture (S, S, 4) of a colour, for strands with their coverage."""
        pixel = np.array((*np.clip(colour, 0, 255), 0)).astype(np.uint8).view(np.uint32)
        return (
            np.full((self.size, self.size), pixel[0])
            .view(np.uint8)
            .reshape(self.size, self.size, 4)
        )
