"""The faces of a whole photograph: aligned, restored, pasted back; nothing is read or written."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from experiments.restoring.arrays import to_array, to_tensor
from osdface.faces import Face, crop_face, face_matrix, paste_faces
from osdface.faces.alignment import compose, scaling
from osdface.faces.pasting import enlarges
from osdface.pictures import Picture
from osdface.restorer import Restorer


@dataclass
class RestoredFaces:
    """What became of the faces of a photo.

    Attributes:
        matrices: From the photo's pixels to each crop's, (2, 3).
        crops: What the model saw, (R, R, 3) each, of the photo's type.
        restored: What it made of them, likewise.
    """

    matrices: list[np.ndarray]
    crops: list[np.ndarray]
    restored: list[np.ndarray]

    def pasted(self, picture: Picture, upscale: float = 1) -> tuple[Picture, Picture]:
        """Returns the photo, enlarged by ``upscale``, without and with the restored faces."""
        before = picture.resized(upscale)
        back = scaling(1 / upscale)
        enlarged = [compose(matrix, back) for matrix in self.matrices]
        return before, replace(before, rgb=paste_faces(before.rgb, self.restored, enlarged))

    def coarser(self) -> str | None:
        """Returns the note for faces with more pixels than the model gives back, or None."""
        large = sum(map(enlarges, self.matrices))
        if not large:
            return None
        resolution = len(self.crops[0])
        return (
            f"{large} of {len(self.crops)} faces have more pixels than the model's {resolution}: "
            "what was pasted is coarser"
        )


def restore_faces(
    restorer: Restorer, picture: Picture, faces: Sequence[Face], batch_size: int = 8
) -> RestoredFaces:
    """Restores the faces that were found in a photo, at least one."""
    resolution = restorer.resolution
    matrices = [face_matrix(face.points, resolution) for face in faces]
    crops = [crop_face(picture.rgb, matrix, resolution) for matrix in matrices]
    images = restorer.restore([to_tensor(crop) for crop in crops], batch_size).images
    return RestoredFaces(matrices, crops, [to_array(each, picture.rgb.dtype) for each in images])
