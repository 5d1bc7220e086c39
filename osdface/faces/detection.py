"""Faces and their five landmarks by RetinaFace: the one adapter around facexlib's network.

Its own entry points download what is missing and choose a device by themselves; here only the
network's class is used, with a weight file that the user has.
"""

import importlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from osdface.errors import UserError
from osdface.paths import WEIGHTS_VARIABLE, find_weight, weights_root
from osdface.pickles import load_pickle
from osdface.weights.registry import entry, how_to_get

# Either does; the first one that is there is taken. Names as facexlib publishes them.
WEIGHTS = {
    "detection_Resnet50_Final.pth": "resnet50",
    "detection_mobilenet0.25_Final.pth": "mobile0.25",
}
_BGR_MEAN = np.array([104, 117, 123], np.float32)  # of the training, subtracted from bytes
_OVERLAP = 0.4  # of two boxes that mean one face


@dataclass
class Face:
    """A face in a photo; pixels, x before y.

    Attributes:
        box: Left, top, right, bottom, (4,).
        score: Confidence in [0, 1].
        points: Eyes, nose, corners of the mouth, (5, 2), the left of the picture first.
    """

    box: np.ndarray
    score: float
    points: np.ndarray


def find_detector(weights_dir: str | Path | None = None) -> Path:
    """Returns the weight file of the detector; UserError names what is looked for where."""
    for name in WEIGHTS:
        try:
            return find_weight(name, weights_dir)
        except UserError:
            continue
    root = weights_root(weights_dir)
    where = f"below {root}" if root else f"(see weights_dir= and ${WEIGHTS_VARIABLE})"
    known = entry(next(iter(WEIGHTS)))
    assert known is not None
    raise UserError(
        f"Finding faces needs the weights {' or '.join(WEIGHTS)}, which are not there {where}: put "
        "one there, or give aligned=true for pictures that are aligned faces: "
        f"{how_to_get(known, root)}"
    )


class FaceDetector:
    """Finds faces.

    Args:
        weights: One of :data:`WEIGHTS`, by its published name.
        device: Where the network runs.
        threshold: Least confidence.
        longest: Photos are shrunk for the detection so that no side exceeds this: its memory grows
            with the area, and a face that vanishes thereby was tiny.
    """

    def __init__(
        self,
        weights: str | Path,
        device: torch.device | str = "cpu",
        threshold: float = 0.9,
        longest: int = 1600,
    ) -> None:
        self.device, self.threshold, self.longest = torch.device(device), threshold, longest
        name = WEIGHTS.get(Path(weights).name)
        if name is None:
            raise UserError(f"{weights} is none of {', '.join(WEIGHTS)}.")
        library: Any = importlib.import_module("facexlib.detection.retinaface")
        self._utils: Any = importlib.import_module("facexlib.detection.retinaface_utils")
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torchvision, about facexlib's way to call it
            self.network = library.RetinaFace(network_name=name, device=self.device)
        found = load_pickle(weights)
        state = {key.removeprefix("module."): value for key, value in found.items()}
        try:
            self.network.load_state_dict(state)
        except RuntimeError as error:
            raise UserError(f"{weights} does not hold RetinaFace's weights.") from error
        self.network.requires_grad_(False).eval()

    @torch.inference_mode()
    def detect(self, image: np.ndarray) -> list[Face]:
        """Finds the faces of a photo (H, W, 3), RGB, uint8; the surest first."""
        height, width = image.shape[:2]
        factor = min(1.0, self.longest / max(height, width))
        if factor < 1:
            size = max(1, round(width * factor)), max(1, round(height * factor))
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
        bgr = torch.from_numpy(image[..., ::-1].astype(np.float32) - _BGR_MEAN)
        boxes, scores, points = self._decode(bgr.permute(2, 0, 1)[None].to(self.device))
        scale = np.array([width, height])
        return [
            Face((box.reshape(2, 2) * scale).reshape(4), float(score), each.reshape(5, 2) * scale)
            for box, score, each in zip(boxes, scores, points, strict=True)
        ]

    def _decode(self, image: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes (N, 4), scores (N,) and points (N, 10) in shares of width and height."""
        import torchvision

        locations, classes, landmarks = (out[0].float().cpu() for out in self.network(image))
        config = self.network.cfg
        priors = self._utils.PriorBox(config, image_size=image.shape[2:]).forward()
        boxes = self._utils.decode(locations, priors, config["variance"])
        points = self._utils.decode_landm(landmarks, priors, config["variance"])
        sure = classes[:, 1] > self.threshold
        boxes, points, scores = boxes[sure], points[sure], classes[sure, 1]
        kept = torchvision.ops.nms(boxes, scores, _OVERLAP)  # the surest first
        return boxes[kept].numpy(), scores[kept].numpy(), points[kept].numpy()
