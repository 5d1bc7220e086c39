"""Faces in whole photographs: found, aligned for the restorer, pasted back."""

from osdface.faces.alignment import crop_face, face_matrix
from osdface.faces.detection import Face, FaceDetector
from osdface.faces.pasting import paste_faces

__all__ = ["Face", "FaceDetector", "crop_face", "face_matrix", "paste_faces"]
