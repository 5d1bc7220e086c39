"""One picture: read, restored, written."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from experiments.restoring.arrays import resampled, to_array, to_tensor
from experiments.restoring.options import Options
from experiments.restoring.outcomes import Outcome
from experiments.restoring.photos import COMPARISONS, Photo
from experiments.restoring.records import Records
from osdface.errors import UserError
from osdface.faces import Face, FaceDetector, crop_face, face_matrix, paste_faces
from osdface.faces.alignment import compose, scale_of, scaling
from osdface.faces.detection import find_detector
from osdface.picture_reading import read_picture
from osdface.pictures import Picture, write_picture
from osdface.restorer import Restorer
from osdface.run_folder import one_line


class Workshop:
    """The loaded networks and what is done with them.

    Args:
        options: The command's.
        device: Of this process; None takes the first that is there.
    """

    def __init__(self, options: Options, device: str | None) -> None:
        self.options, self.records = options, Records(options)
        # First what is soon found missing: a base takes a while to load.
        weights = None if options.aligned else find_detector(options.weights_dir)
        self.restorer = Restorer.from_pretrained(
            options.checkpoint,
            device=device,
            dtype=getattr(torch, options.dtype),
            base=options.base,
            weights_dir=options.weights_dir,
            vre=options.vre,
            compile=options.compile,
            cuda_graphs=options.cuda_graphs,
        )
        if options.compile:  # now: what the compiler lacks is no picture's fault
            side = self.restorer.resolution
            self.restorer.restore(torch.zeros(3, side, side))
        self.detector = None
        if weights is not None:
            self.detector = FaceDetector(weights, self.restorer.device, options.confidence)

    def work(self, photos: Sequence[Photo]) -> Iterator[Outcome]:
        """Restores pictures; one that fails does not keep the others from it."""
        size = self.options.batch_size if self.options.aligned else 1
        for start in range(0, len(photos), size):
            group = photos[start : start + size]
            try:
                yield from self._together(group)
            except Exception:
                # Which of them it was, one by one will tell.
                for photo in group:
                    yield self._alone(photo)

    def _together(self, photos: Sequence[Photo]) -> list[Outcome]:
        if self.options.aligned:
            return self._restore_aligned(photos)
        return [self._restore_whole(photo) for photo in photos]

    def _alone(self, photo: Photo) -> Outcome:
        try:
            return self._together([photo])[0]
        except UserError as error:
            return Outcome(photo.source, error=str(error))
        except Exception as error:  # whatever it is, the rest goes on
            return Outcome(photo.source, error=f"{photo.source}: {one_line(error)}")

    def _restore(self, tensors: list[Tensor], original_size: bool = False) -> list[Tensor]:
        found = self.restorer.restore(tensors, self.options.batch_size, original_size)
        return list(found.images)

    def _restore_aligned(self, photos: Sequence[Photo]) -> list[Outcome]:
        pictures = [read_picture(photo.source) for photo in photos]
        tensors = [to_tensor(picture.rgb) for picture in pictures]
        restored = self._restore(tensors, self.options.original_size)
        for photo, picture, image in zip(photos, pictures, restored, strict=True):
            rgb = to_array(image, picture.rgb.dtype)
            size = rgb.shape[1::-1]
            result = replace(picture, rgb=rgb, alpha=resampled(picture.alpha, size))
            before = replace(result, rgb=resampled(picture.rgb, size))
            self._write(photo, {photo.name: (before, result)}, faces=1)
        return [
            Outcome(photo.source, 1, notes=picture.notes)
            for photo, picture in zip(photos, pictures, strict=True)
        ]

    def _restore_whole(self, photo: Photo) -> Outcome:
        assert self.detector is not None
        picture = read_picture(photo.source)
        faces = self.detector.detect(picture.rgb_bytes())
        if not faces:
            return self._without_face(photo, picture)
        resolution = self.restorer.resolution
        matrices = [face_matrix(face.points, resolution) for face in faces]
        crops = [crop_face(picture.rgb, matrix, resolution) for matrix in matrices]
        restored = self._restore([to_tensor(crop) for crop in crops])
        results = [to_array(image, picture.rgb.dtype) for image in restored]
        if self.options.paste_back:
            before = picture.resized(self.options.upscale)
            back = scaling(1 / self.options.upscale)
            enlarged = [compose(matrix, back) for matrix in matrices]
            after = replace(before, rgb=paste_faces(before.rgb, results, enlarged))
            pictures = {photo.name: (before, after)}
        else:
            bare = replace(picture, alpha=None)
            pictures = {
                f"{photo.name}_{number:02d}": (replace(bare, rgb=crop), replace(bare, rgb=face))
                for number, (crop, face) in enumerate(zip(crops, results, strict=True))
            }
        self._write(photo, pictures, len(faces))
        return Outcome(photo.source, len(faces), notes=picture.notes + self._coarser(faces))

    def _coarser(self, faces: Sequence[Face]) -> list[str]:
        resolution = self.restorer.resolution
        large = [f for f in faces if scale_of(face_matrix(f.points, resolution)) < 1]
        if not large or not self.options.paste_back:
            return []
        return [
            f"{len(large)} of {len(faces)} faces have more pixels than the model's {resolution}: "
            "what was pasted is coarser"
        ]

    def _without_face(self, photo: Photo, picture: Picture) -> Outcome:
        copied = self.options.no_face == "copy" and self.options.paste_back
        result = picture.resized(self.options.upscale)
        self._write(photo, {photo.name: (result, result)} if copied else {}, faces=0)
        done = "copied" if copied else "skipped"
        return Outcome(photo.source, 0, notes=[*picture.notes, f"no face found, {done}"])

    def _write(
        self, photo: Photo, pictures: dict[str, tuple[Picture, Picture]], faces: int
    ) -> None:
        """Writes results (before, after) by name, their record first."""
        written = {f"{name}.png": after for name, (_, after) in pictures.items()}
        if self.options.side_by_side:
            for name, (before, after) in pictures.items():
                both = replace(
                    after,
                    rgb=np.concatenate([before.rgb, after.rgb], 1),
                    alpha=None if after.alpha is None else np.tile(after.alpha, (1, 2)),
                )
                written[f"{COMPARISONS}/{name}.png"] = both
        self.records.write(photo, list(written), faces)
        for file, picture in written.items():
            write_picture(self.records.output / file, picture)
