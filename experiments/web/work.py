"""From a visitor's order to the pictures that are shown; knows nothing of the page."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np

from datamodules.portraits import render_portrait
from experiments.restoring.arrays import to_array, to_tensor
from experiments.restoring.whole import restore_faces
from experiments.web.drawing import draw_boxes, enlarged, shrunk
from experiments.web.models import Model
from experiments.web.uploads import read_upload
from osdface.degradation import build_degradation, degrade
from osdface.errors import UserError
from osdface.faces import Face, FaceDetector, face_matrix
from osdface.faces.alignment import scale_of
from osdface.image_inputs import fit, unfit
from osdface.pictures import Picture

# Of the drawn portraits: not the population that the tiny model was trained on (data_seed 0).
_POPULATION = 20261
_PORTRAIT_SIZE = 256
_ALIGNED_SIDE = 1024  # what is larger is shrunk first: an aligned face fills the picture
_MAX_FACES = 32


@dataclass(frozen=True)
class Order:
    """What a visitor wants.

    Attributes:
        data: The uploaded file's bytes.
        model: A name of :func:`~experiments.web.models.load_models`.
        whole: Faces are looked for; otherwise the picture is one aligned face.
        preset: Degradation before restoring, or None.
        strength: Its ``strength_scale`` for faces of the model's resolution.
        seed: Of the degradation.
    """

    data: bytes
    model: str
    whole: bool = False
    preset: str | None = None
    strength: float = 1.0
    seed: int = 0


@dataclass
class Result:
    """What is shown; pictures are (H, W, 3) uint8.

    Attributes:
        before: What was restored, after the degradation.
        after: Restored, of the same size.
        faces: The photo with a box around each face; None for aligned faces.
        count: Restored faces.
        seconds: Of the networks, loading not included.
        notes: What the visitor should be told.
    """

    before: np.ndarray
    after: np.ndarray
    faces: np.ndarray | None
    count: int
    seconds: float
    notes: list[str] = field(default_factory=list)


class Studio:
    """Holds the networks and restores for one visitor at a time.

    Args:
        models: By name.
        detector: Finds faces in whole photos; None where its weights are missing.
        max_pixels: Largest picture that is taken.
    """

    def __init__(
        self, models: Mapping[str, Model], detector: FaceDetector | None, max_pixels: int
    ) -> None:
        self.models, self.detector, self.max_pixels = models, detector, max_pixels
        self._lock = threading.Lock()

    def restore(self, order: Order) -> Result:
        """Carries out an order; UserError says what keeps it from that."""
        if order.model not in self.models:
            raise UserError("There is no such model: choose one from the list.")
        upload = read_upload(order.data, self.max_pixels)
        with self._lock:
            start = time.monotonic()
            work = self._whole if order.whole else self._aligned
            result = work(order, upload.rgb, self.models[order.model])
            result.seconds = time.monotonic() - start
        if order.preset is not None:
            how = f"{order.preset}, strength {order.strength:g}, seed {order.seed}"
            result.notes.insert(0, f"degraded first: {how}")
        result.notes = upload.notes + result.notes
        return result

    def _aligned(self, order: Order, rgb: np.ndarray, model: Model) -> Result:
        side = model.restorer.resolution
        if order.preset is None:
            before = shrunk(rgb, _ALIGNED_SIDE)
        else:
            # As in training: first to the model's size, then degraded.
            small = fit(to_tensor(shrunk(rgb, _ALIGNED_SIDE)), side)[0]
            before = to_array(unfit(small, *rgb.shape[:2], original_size=False), np.uint8)
            before = _degraded(before, order, order.strength)
        (image,) = model.restorer.restore([to_tensor(before)], original_size=True).images
        after = to_array(image, np.uint8)
        notes = []
        if max(before.shape) > side:
            notes.append(f"the model works on {side} x {side} pixels: the result is enlarged")
        return Result(enlarged(before), enlarged(after), None, 1, 0.0, notes)

    def _whole(self, order: Order, rgb: np.ndarray, model: Model) -> Result:
        if self.detector is None:
            raise UserError(
                "This server has no face detector, so it cannot work on whole photos: cut the face "
                "out and choose the aligned mode."
            )
        faces = self._faces(self.detector, rgb)
        if order.preset is not None:
            # The preset is meant for a face of the model's size: here faces have another one.
            scale = scale_of(face_matrix(faces[0].points, model.restorer.resolution))
            rgb = _degraded(rgb, order, min(max(order.strength / scale, 0.02), 4.0))
            faces = self._faces(self.detector, rgb, "any more: degrade it less")
        notes = []
        if len(faces) > _MAX_FACES:
            notes.append(f"the {_MAX_FACES} surest of {len(faces)} faces were restored")
            faces = faces[:_MAX_FACES]
        found = restore_faces(model.restorer, Picture(rgb), faces)
        before, after = found.pasted(Picture(rgb))
        notes += [note for note in (found.coarser(),) if note]
        boxes = draw_boxes(rgb, [face.box for face in faces])
        return Result(
            enlarged(before.rgb), enlarged(after.rgb), boxes, len(faces), 0.0, notes
        )  # fmt: skip

    def _faces(self, detector: FaceDetector, rgb: np.ndarray, why: str = "") -> list[Face]:
        faces = detector.detect(rgb)
        if not faces:
            hint = why or "in it: if it is a face that fills the picture, choose the aligned mode"
            raise UserError(f"No face was found {hint}.")
        return faces


def _degraded(rgb: np.ndarray, order: Order, strength: float) -> np.ndarray:
    settings = build_degradation({"preset": order.preset, "strength_scale": strength})
    return np.asarray(degrade(rgb, settings, order.seed, 0, "web"))


def draw_portrait(number: int) -> bytes:
    """Returns a drawn portrait of person ``number``, whom no shipped model has seen, as PNG."""
    image = render_portrait(_POPULATION, number, 0, _PORTRAIT_SIZE).image
    done, data = cv2.imencode(".png", image[..., ::-1])
    if not done:
        raise OSError("OpenCV could not encode a PNG")
    return data.tobytes()
