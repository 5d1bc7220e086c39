"""What is done to pictures only in order to look at them."""

from collections.abc import Sequence

import cv2
import numpy as np

_BOX = (255, 196, 0)
_INK = (20, 20, 20)
_LEAST_SHOWN = 512


def shrunk(rgb: np.ndarray, longest: int) -> np.ndarray:
    """Returns (H, W, 3) with no side longer than ``longest``; a small picture as it is."""
    factor = longest / max(rgb.shape[:2])
    return rgb if factor >= 1 else _resized(rgb, factor, cv2.INTER_AREA)


def enlarged(rgb: np.ndarray, least: int = _LEAST_SHOWN) -> np.ndarray:
    """Returns (H, W, 3) whose longer side has ``least`` pixels or more: browsers blur small ones
    in ways of their own."""
    factor = least / max(rgb.shape[:2])
    return rgb if factor <= 1 else _resized(rgb, factor, cv2.INTER_CUBIC)


def _resized(rgb: np.ndarray, factor: float, method: int) -> np.ndarray:
    height, width = (max(1, round(side * factor)) for side in rgb.shape[:2])
    return np.asarray(cv2.resize(rgb, (width, height), interpolation=method))


def draw_boxes(rgb: np.ndarray, boxes: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the photo (H, W, 3) with a numbered frame around each box (4,)."""
    image = rgb.copy()
    thick = max(1, round(max(rgb.shape[:2]) / 300))
    for number, box in enumerate(boxes, 1):
        left, top, right, bottom = (round(float(value)) for value in box)
        cv2.rectangle(image, (left, top), (right, bottom), _BOX, thick, cv2.LINE_AA)
        _label(image, str(number), (left, top), thick)
    return image


def _label(image: np.ndarray, text: str, corner: tuple[int, int], thick: int) -> None:
    font, size = cv2.FONT_HERSHEY_SIMPLEX, max(0.4, thick * 0.35)
    (width, height), _ = cv2.getTextSize(text, font, size, 1)
    # Above the frame, so that it hides nothing of the face.
    left, top = max(corner[0], 0), max(corner[1] - height - 6, 0)
    cv2.rectangle(image, (left, top), (left + width + 6, top + height + 6), _BOX, cv2.FILLED)
    weight = max(1, thick // 2)
    cv2.putText(image, text, (left + 3, top + height + 3), font, size, _INK, weight, cv2.LINE_AA)
