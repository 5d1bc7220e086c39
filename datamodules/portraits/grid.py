"""The coarse grid on which light is computed, and its way into a picture."""

import cv2
import numpy as np

GRID = 128  # side of the shading grids; fixed, so that every resolution gets the same light
AXIS = ((np.arange(GRID, dtype=np.float32) + 0.5) / GRID).astype(np.float32)

Part = tuple[slice, slice]  # rows and columns (h, w) of a grid or of a picture
WHOLE: Part = (slice(0, GRID), slice(0, GRID))


def grid_part(place: Part, size: int) -> Part:
    """Returns the part of a grid that `enlarge` needs to fill `place` of a picture."""
    if size % GRID:  # a part would be interpolated at other places than the whole grid
        return WHOLE
    step = size // GRID
    return tuple(
        slice(max(side.start // step - 1, 0), min(-(-side.stop // step) + 1, GRID))
        for side in place
    )


def enlarge(grid: np.ndarray, part: Part, place: Part, size: int) -> np.ndarray:
    """Brings a `part` of a shading grid to a canvas of `size` pixels and cuts out `place`."""
    (top, bottom), (left, right) = (
        (side.start * size // GRID, side.stop * size // GRID) for side in part
    )
    large = cv2.resize(grid, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    rows, cols = place
    return large[rows.start - top : rows.stop - top, cols.start - left : cols.stop - left]
