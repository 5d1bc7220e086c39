"""Picture grids with labels, drawn with Pillow: one row a face, one column a method."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

PAPER = (255, 255, 255)
INK = (40, 40, 40)
EMPTY = (225, 225, 225)
GAP = 4
MINIMUM_CELL = 128


def to_uint8(images: torch.Tensor) -> np.ndarray:
    """Converts images (N, 3, H, W) in [-1, 1] to bytes (N, H, W, 3); NaN becomes mid-gray."""
    images = torch.nan_to_num(images.detach().float().cpu(), nan=0.0).clamp(-1, 1)
    return ((images + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def fit_cell(image: np.ndarray, cell: int) -> Image.Image:
    """Scales an (H, W, 3) byte image to ``cell`` pixels on its longer side.

    Whole factors repeat pixels, so that what the network made is what one sees; others use
    Lanczos.
    """
    height, width = image.shape[:2]
    longer = max(height, width)
    if longer == cell:
        return Image.fromarray(image)
    size = (max(1, round(width * cell / longer)), max(1, round(height * cell / longer)))
    method = Image.Resampling.NEAREST if cell % longer == 0 else Image.Resampling.LANCZOS
    return Image.fromarray(image).resize(size, method)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _shorten(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Cuts the middle out of a text that is too wide: keys differ at either end."""
    kept = len(text)
    short = text
    while kept > 2 and font.getlength(short) > width:
        kept -= 1
        short = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
    return short


def cell_box(row: int, column: int, cell: int, left: int, top: int) -> tuple[int, int, int, int]:
    """Returns the pixel box (x0, y0, x1, y1) of a cell; ``left``, ``top``: label margins."""
    x = left + GAP + column * (cell + GAP)
    y = top + GAP + row * (cell + GAP)
    return x, y, x + cell, y + cell


def font_size(cell: int) -> int:
    """Returns the labels' size in pixels for cells of ``cell`` pixels."""
    return max(11, cell // 11)


def grid_margins(row_labels: Sequence[str] | None, cell: int) -> tuple[int, int]:
    """Returns the (left, top) margins in pixels that hold row labels and column headers."""
    lengths = [_font(font_size(cell)).getlength(label) for label in row_labels or []]
    return min(math.ceil(max(lengths, default=-8)) + 8, cell), max(20, cell // 8)


def draw_grid(
    columns: Sequence[tuple[str, Sequence[np.ndarray | None]]],
    row_labels: Sequence[str] | None = None,
    minimum_cell: int = MINIMUM_CELL,
    empty_note: str = "no picture",
) -> np.ndarray:
    """Draws columns of pictures under their labels and returns bytes (H, W, 3).

    ``columns``: (label, pictures), each picture (h, w, 3) bytes or None, which is drawn as an
    empty gray cell with ``empty_note`` at its foot. All cells are squares of the largest side
    found, at least ``minimum_cell`` pixels.
    """
    rows = max((len(pictures) for _, pictures in columns), default=0)
    sides = [max(p.shape[:2]) for _, pictures in columns for p in pictures if p is not None]
    cell = max([minimum_cell, *sides])
    # A small picture beside a large one keeps whole pixels if the cell is a multiple of it.
    if sides and cell == minimum_cell and minimum_cell % max(sides):
        cell = max(sides) * math.ceil(minimum_cell / max(sides))
    left, top = grid_margins(row_labels, cell)
    size = (
        left + GAP + len(columns) * (cell + GAP),
        top + GAP + rows * (cell + GAP),
    )
    canvas = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(canvas)
    font = _font(font_size(cell))
    for column, (label, pictures) in enumerate(columns):
        x0, _, x1, _ = cell_box(0, column, cell, left, top)
        text = _shorten(label, cell, font)
        draw.text(((x0 + x1) / 2, top / 2 + GAP / 2), text, INK, font, anchor="mm")
        for row in range(rows):
            box = cell_box(row, column, cell, left, top)
            picture = pictures[row] if row < len(pictures) else None
            if picture is None:
                draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=EMPTY)
                note = ((box[0] + box[2]) / 2, box[3] - cell / 10)
                draw.text(note, empty_note, (120, 120, 120), font, anchor="mm")
            else:
                scaled = fit_cell(picture, cell)
                offset = ((cell - scaled.width) // 2, (cell - scaled.height) // 2)
                canvas.paste(scaled, (box[0] + offset[0], box[1] + offset[1]))
    for row, label in enumerate(row_labels or []):
        _, y0, _, y1 = cell_box(row, 0, cell, left, top)
        text = _shorten(label, left - GAP, font)
        draw.text((left / 2, (y0 + y1) / 2), text, INK, font, anchor="mm")
    return np.asarray(canvas)
