"""The adapter around RetinaFace: with random weights, and with real ones where they are."""

import warnings

import numpy as np
import pytest
import torch

from osdface.errors import UserError
from osdface.faces import FaceDetector, crop_face, detection, face_matrix
from osdface.faces.alignment import invert, scale_of
from osdface.faces.detection import WEIGHTS, find_detector
from osdface.networks.alignment import FFHQ_TEMPLATE
from osdface.picture_reading import read_picture

MOBILE = "detection_mobilenet0.25_Final.pth"
FACES = {"00": 4, "01": 4, "02": 4, "03": 1, "04": 1, "05": 1, "06": 2, "Blake_Lively": 2}


@pytest.fixture
def random_weights(tmp_path):
    from facexlib.detection.retinaface import RetinaFace

    torch.manual_seed(0)
    network = RetinaFace("mobile0.25", device=torch.device("cpu"))
    path = tmp_path / MOBILE
    torch.save({f"module.{key}": value for key, value in network.state_dict().items()}, path)
    return path


def test_equals_facexlibs_own_decoding(random_weights, monkeypatch) -> None:
    """Random weights find nonsense: the same nonsense. All of it, since near-ties would differ."""
    monkeypatch.setattr(detection, "_OVERLAP", 2.0)
    detector = FaceDetector(random_weights, threshold=0.4)
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    with torch.no_grad():
        rows = detector.network.detect_faces(image[..., ::-1].copy(), 0.4, nms_threshold=2.0)
    ours = [np.hstack([f.box, f.score, f.points.reshape(-1)]) for f in detector.detect(image)]
    assert len(ours) == len(rows) > 0
    theirs = sorted(rows.tolist(), key=lambda row: (round(row[0], 1), round(row[1], 1)))
    ours = sorted(np.array(ours).tolist(), key=lambda row: (round(row[0], 1), round(row[1], 1)))
    np.testing.assert_allclose(ours, theirs, atol=1e-2)


def test_building_one_draws_no_random_numbers(random_weights) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    FaceDetector(random_weights)
    assert torch.equal(torch.rand(2), expected)


def test_large_photos_are_shrunk_and_coordinates_are_the_photos(random_weights) -> None:
    detector = FaceDetector(random_weights, threshold=0.4, longest=64)
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    boxes = np.array([face.box for face in detector.detect(image)])
    assert len(boxes) and boxes[:, 2].max() > 70


def test_a_missing_weight_is_one_sentence(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("OSDFACE_WEIGHTS", raising=False)
    with pytest.raises(UserError, match="aligned=true") as error:
        find_detector(tmp_path)
    assert all(name in str(error.value) for name in WEIGHTS)
    with pytest.raises(UserError, match="weights_dir="):
        find_detector(None)


def test_a_wrong_weight_file_is_one_sentence(tmp_path) -> None:
    torch.save({"x": torch.zeros(1)}, tmp_path / MOBILE)
    with pytest.raises(UserError, match="does not hold RetinaFace"):
        FaceDetector(tmp_path / MOBILE)
    with pytest.raises(UserError, match="is none of"):
        FaceDetector(tmp_path / "other.pth")


def test_resnet50_builds_under_its_published_name(tmp_path) -> None:
    from facexlib.detection.retinaface import RetinaFace

    path = tmp_path / "detection_Resnet50_Final.pth"
    with warnings.catch_warnings(action="ignore"):
        network = RetinaFace("resnet50", device=torch.device("cpu"))
    torch.save(network.state_dict(), path)
    assert find_detector(tmp_path) == path
    assert FaceDetector(path).detect(np.zeros((64, 64, 3), np.uint8)) is not None


@pytest.mark.shared_data
def test_whole_photos(shared_data, capsys) -> None:
    """Real low-quality photos: every face is found, and its landmarks fit the template."""
    detector = FaceDetector(find_detector(shared_data / "data/weights"))
    template = np.array(FFHQ_TEMPLATE)
    for path in sorted((shared_data / "data/faces/whole_imgs").iterdir()):
        picture = read_picture(path)
        faces = detector.detect(picture.rgb_bytes())
        assert len(faces) == FACES[path.stem], path.name
        for face in faces:
            matrix = face_matrix(face.points, 512)
            there = face.points @ matrix[:, :2].T + matrix[:, 2]
            misfit = float(np.sqrt(((there - template) ** 2).sum(1).mean()))
            assert misfit < 60
            assert invert(matrix).shape == (2, 3)
            assert crop_face(picture.rgb, matrix, 512).shape == (512, 512, 3)
            with capsys.disabled():
                side = 512 / scale_of(matrix)
                print(f"\n{path.name}: crop of {side:.0f} px, score {face.score:.3f}, ", end="")
                print(f"landmarks off by {misfit:.0f} of 512 px", end="")
