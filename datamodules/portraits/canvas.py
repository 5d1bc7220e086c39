"""A square picture on which anti-aliased shapes are blended, in coordinates 0..1."""

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np

_SHIFT = 4  # sub-pixel bits of cv2 coordinates
_MAX_SIGMA = 3.0  # wider blurs are done on a smaller grid: same look, constant cost

Colour = tuple[float, float, float] | np.ndarray


def to_fixed(points: np.ndarray, size: float, origin: tuple[float, float] = (0, 0)) -> np.ndarray:
    """Turns (..., 2) frame coordinates into fixed-point pixel coordinates for cv2."""
    pixels = np.asarray(points, np.float32) * size - 0.5 - np.asarray(origin, np.float32)
    return np.round(pixels * (1 << _SHIFT)).astype(np.int32)


def draw_lines(image: np.ndarray, lines: list, colour, width: float, closed=False) -> None:
    """Draws fixed-point polylines (P, 2) of `width` pixels on an 8-bit image."""
    thickness = max(1, round(width))
    cv2.polylines(image, lines, closed, colour, thickness, cv2.LINE_AA, _SHIFT)


class Canvas:
    """An RGB picture of `size` by `size` pixels (8 bit) with blending of soft shapes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.image = np.zeros((size, size, 3), np.uint8)
        self._bounds = (0, 0, size, size)  # x0, y0, x1, y1 of the part that may be painted

    def _window(self, points: np.ndarray, margin: float, step: int) -> tuple[int, int, int, int]:
        """Returns the pixel box x0, y0, x1, y1 around points, in multiples of `step`."""
        unit = self.size / step
        low = [(min(max(v - margin, 0.0), 1.0) * unit - 1) // 1 for v in points.min(0).tolist()]
        high = [
            -((-min(max(v + margin, 0.0), 1.0) * unit - 1) // 1) for v in points.max(0).tolist()
        ]
        return tuple(int(v) * step for v in (*low, *high))

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
        self, shapes: list, blur: float = 0.0, width: float = 0.0, closed: bool = False
    ) -> tuple[np.ndarray, tuple[slice, slice]]:
        """Rasterises filled polygons (width 0) or lines of `width` and returns coverage and place.

        Args:
            shapes: Point arrays (P, 2) in frame coordinates.
            blur: Standard deviation of the softening, in frame widths.
            width: Line width in frame widths.
            closed: Whether lines are closed.

        Returns:
            Coverage (h, w) float32 in 0..1 and the two slices of the picture that it covers.
        """
        sigma = blur * self.size
        step = 1
        while sigma / step > _MAX_SIGMA and self.size / step > 64:
            step *= 2
        points = np.concatenate(shapes)
        x0, y0, x1, y1 = self._window(points, 2.6 * blur + width, step)
        scale = self.size / step
        raster = np.zeros(((y1 - y0) // step, (x1 - x0) // step), np.uint8)
        origin = (x0 / step, y0 / step)
        gain = 1.0
        ends = np.cumsum([len(shape) for shape in shapes])[:-1].tolist()
        pixels = to_fixed(points, scale, origin)
        fixed = [pixels[a:b] for a, b in zip([0, *ends], [*ends, len(points)], strict=True)]
        if width > 0.0:
            thick = width * scale
            gain = min(1.0, thick / max(1, round(thick)))
            draw_lines(raster, fixed, 255, thick, closed)
        else:
            for shape in fixed:
                cv2.fillPoly(raster, [shape], 255, cv2.LINE_AA, _SHIFT)
        if sigma > 0.0:
            raster = cv2.GaussianBlur(raster, (0, 0), max(sigma / step, 0.3))
        if step > 1:
            raster = cv2.resize(raster, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
        left, top = max(self._bounds[0], x0), max(self._bounds[1], y0)
        right, bottom = max(left, min(self._bounds[2], x1)), max(top, min(self._bounds[3], y1))
        cut = raster[top - y0 : bottom - y0, left - x0 : right - x0]
        return cut.astype(np.float32) * (gain / 255.0), (slice(top, bottom), slice(left, right))

    def blend(self, coverage: np.ndarray, place: tuple[slice, slice], paint: Colour) -> None:
        """Mixes `paint` (a colour, or an (h, w, 3) array) into the picture by coverage (h, w)."""
        region = self.image[place]
        if region.size == 0:
            return
        paint = np.minimum(np.asarray(paint, np.float32), 255.0)
        change = paint - region
        change *= coverage[..., None]
        change += region
        change += 0.5  # the cast cuts, this rounds
        self.image[place] = change

    def multiply(self, coverage: np.ndarray, place: tuple[slice, slice], factor: Colour) -> None:
        """Multiplies the picture by `factor` (3 numbers up to 1), in full where coverage is 1."""
        region = self.image[place]
        if region.size == 0:
            return
        gain = coverage[..., None] * (np.asarray(factor, np.float32) - 1.0)
        gain += 1.0
        gain *= region
        gain += 0.5
        self.image[place] = gain

    def fill(self, shape: np.ndarray, paint: Colour, alpha: float = 1.0, blur: float = 0.0) -> None:
        """Fills the polygon (P, 2) with a colour."""
        coverage, place = self.mask([shape], blur)
        self.blend(coverage * alpha, place, paint)

    def stroke(
        self,
        lines: list,
        paint: Colour,
        width: float,
        alpha: float = 1.0,
        blur: float = 0.0,
        closed: bool = False,
    ) -> None:
        """Draws lines (P, 2) of a colour and a width in frame widths."""
        if len(lines):
            coverage, place = self.mask(list(lines), blur, width, closed)
            self.blend(coverage * alpha, place, paint)

    def shade(
        self,
        shapes: list,
        factor: Colour,
        alpha: float = 1.0,
        blur: float = 0.0,
        width: float = 0.0,
    ) -> None:
        """Darkens (or tints) the picture under polygons or lines by a factor per channel."""
        if len(shapes):
            coverage, place = self.mask(list(shapes), blur, width)
            self.multiply(coverage * alpha, place, factor)

    def layer(self, colour: Colour) -> np.ndarray:
        """Returns an empty RGBA picture (S, S, 4) of a colour, for strands with their coverage."""
        pixel = np.array((*np.clip(colour, 0, 255), 0)).astype(np.uint8).view(np.uint32)
        return (
            np.full((self.size, self.size), pixel[0])
            .view(np.uint8)
            .reshape(self.size, self.size, 4)
        )
