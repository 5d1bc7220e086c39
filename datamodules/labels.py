"""Attribute and landmark labels, and what a mirror image makes of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from osdface.errors import UserError


def _mirrored(name: str) -> str:
    swap = {"left": "right", "right": "left"}
    return "_".join(swap.get(part, part) for part in name.split("_"))


@dataclass(frozen=True)
class LabelSet:
    """Which labels a batch carries.

    Attributes:
        attributes: Attribute name -> names of its classes.
        landmarks: Names of the landmarks; ``left`` and ``right`` in a name, or in a class's name,
            mean the side in the picture and change places in a mirror image.
    """

    attributes: Mapping[str, Sequence[str]]
    landmarks: Sequence[str]

    def attribute_tensor(
        self, key: str, labels: Mapping[str, Any], mirrored: bool = False
    ) -> torch.Tensor:
        """Returns the class numbers of a sample, int64 (A,).

        Raises:
            UserError: The sample lacks one of the attributes.
        """
        values = labels.get("attributes", {})
        if missing := [name for name in self.attributes if name not in values]:
            raise UserError(
                f"The sample {key!r} lacks the attribute(s) {', '.join(missing)}: set "
                "data.with_attributes=false."
            )
        numbers = []
        for name, classes in self.attributes.items():
            number = int(values[name])
            numbers.append(classes.index(_mirrored(classes[number])) if mirrored else number)
        return torch.tensor(numbers, dtype=torch.int64)

    def landmark_array(self, key: str, labels: Mapping[str, Any]) -> np.ndarray:
        """Returns the stored landmarks of a sample, float32 (K, 2) pixels.

        Raises:
            UserError: The sample has none, or another number of them.
        """
        points = np.asarray(labels.get("landmarks", []), dtype=np.float32)
        if points.shape != (len(self.landmarks), 2):
            raise UserError(
                f"The sample {key!r} has {len(points)} landmarks instead of "
                f"{len(self.landmarks)}: set data.with_attributes=false."
            )
        return points

    def mirror_landmarks(self, points: np.ndarray, resolution: int) -> np.ndarray:
        """Returns the landmarks (K, 2) of the mirror image of a picture ``resolution`` px wide."""
        order = [self.landmarks.index(_mirrored(name)) for name in self.landmarks]
        mirrored = points[order].copy()
        mirrored[:, 0] = resolution - 1 - mirrored[:, 0]
        return mirrored
