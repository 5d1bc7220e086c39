"""What a visitor's order gives, without a page."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from experiments.restoring.whole import restore_faces
from experiments.web.drawing import draw_boxes, enlarged, shrunk
from experiments.web.models import TINY_NAME, load_models
from experiments.web.work import Order, Studio, draw_portrait
from osdface.degradation import PRESETS
from osdface.errors import UserError
from osdface.pictures import Picture
from osdface.restorer import Restorer
from tests.experiments.web.conftest import CORNERS, SIDE, KnowsWhere, portrait, scene
from tests.experiments.web.malformed import encoded


@pytest.fixture
def order() -> Order:
    return Order(encoded(Image.fromarray(portrait(1)), "PNG"), TINY_NAME)


@pytest.fixture
def group(order) -> Order:
    return replace(order, data=encoded(Image.fromarray(scene()), "PNG"), whole=True)


def test_aligned_is_what_the_library_restores(studio, order):
    result = studio.restore(order)
    (expected,) = studio.models[TINY_NAME].restorer.restore([portrait(1)]).images
    assert np.array_equal(result.before, enlarged(portrait(1)))
    assert np.abs(result.after.astype(int) - enlarged(expected)).max() <= 1
    assert result.faces is None and result.count == 1


def test_a_large_aligned_picture_says_that_it_is_enlarged(studio, order):
    large = replace(order, data=encoded(Image.fromarray(portrait(1, 600)), "PNG"))
    result = studio.restore(large)
    assert result.before.shape == result.after.shape == (600, 600, 3)
    assert "64 x 64" in result.notes[0]


def test_an_oblong_aligned_picture_keeps_its_shape(studio, order):
    data = encoded(Image.fromarray(portrait(1, 640)[:320]), "PNG")
    for preset in (None, "waveface"):
        result = studio.restore(replace(order, data=data, preset=preset, strength=0.3))
        assert result.before.shape == result.after.shape
        assert result.after.shape[1] == 2 * result.after.shape[0]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_degrades_by_its_seed(studio, order, preset):
    clean = studio.restore(order).before
    first = studio.restore(replace(order, preset=preset, strength=0.35))
    assert not np.array_equal(first.before, clean)
    assert preset in first.notes[0]
    again = studio.restore(replace(order, preset=preset, strength=0.35))
    assert np.array_equal(again.before, first.before) and np.array_equal(again.after, first.after)
    other = studio.restore(replace(order, preset=preset, strength=0.35, seed=1))
    assert not np.array_equal(other.before, first.before)


def test_whole_photo_is_pasted_back_as_by_the_command(studio, group):
    result = studio.restore(group)
    restorer = studio.models[TINY_NAME].restorer
    _, expected = restore_faces(restorer, Picture(scene()), KnowsWhere().detect(scene())).pasted(
        Picture(scene())
    )
    assert np.array_equal(result.after, enlarged(expected.rgb))
    assert result.count == 2
    # Far from the faces nothing changes.
    assert np.array_equal(result.after[:20, :20], result.before[:20, :20])
    assert not np.array_equal(result.after, result.before)


def test_boxes_frame_the_faces_and_leave_the_photo_alone(studio, group):
    faces = studio.restore(group).faces
    changed = (faces != scene()).any(-1)
    for left, top in CORNERS:
        assert changed[top, left : left + SIDE].mean() > 0.9
        assert not changed[top + 10 : top + SIDE - 10, left + 10 : left + SIDE - 10].any()
    assert not changed[140:].any()


def test_a_whole_photo_may_be_degraded(studio, group):
    result = studio.restore(replace(group, preset="waveface", strength=0.35))
    assert result.count == 2
    assert not np.array_equal(result.before, enlarged(scene()))


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ({"model": "another"}, "no such model"),
        ({"data": b""}, "is empty"),
        ({"whole": True}, "No face was found.*aligned mode"),
        ({"preset": "daefr"}, "daefr_final"),
        ({"preset": "waveface", "strength": -1}, "positive"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(studio, order, change, answer):
    with pytest.raises(UserError, match=answer):
        studio.restore(replace(order, **change))


def test_without_a_detector_whole_photos_are_a_sentence(studio, group):
    with pytest.raises(UserError, match="no face detector"):
        Studio(studio.models, None, 10**6).restore(group)


def test_models_have_names_without_the_servers_folders(studio, monkeypatch):
    asked = []

    def loaded(path: str, **options: object) -> Restorer:
        asked.append((path, options))
        return studio.models[TINY_NAME].restorer

    monkeypatch.setattr(Restorer, "from_pretrained", loaded)
    paths = ["/a/one/full/export", "/a/two/full/export", "/b/one/full/export", "/a/one/last.ckpt"]
    models = load_models([*paths, paths[0]], device="cpu", base="B", weights_dir="W")
    names = ["one/full", "two/full", "one/full (2)", "one/last.ckpt", TINY_NAME]
    assert list(models) == names
    assert [model.stand_in for model in models.values()] == [False] * 4 + [True]
    assert asked[0] == (paths[0], {"device": "cpu", "base": "B", "weights_dir": "W"})
    assert asked[-1] == ("tiny", {"device": "cpu"})
    assert models[TINY_NAME].strength == 0.35
    assert list(load_models(["tiny", paths[0]])) == [TINY_NAME, "one/full"]


def test_drawn_portraits_are_pictures_of_different_people():
    first, second = draw_portrait(1), draw_portrait(2)
    assert first == draw_portrait(1) != second


def test_sizes_for_looking():
    assert shrunk(np.zeros((300, 100, 3), np.uint8), 150).shape == (150, 50, 3)
    assert shrunk(np.zeros((30, 10, 3), np.uint8), 150).shape == (30, 10, 3)
    assert enlarged(np.zeros((30, 10, 3), np.uint8), 60).shape == (60, 20, 3)
    outside = draw_boxes(np.zeros((20, 20, 3), np.uint8), [np.array([-5.0, -5, 50, 50])])
    assert outside.shape == (20, 20, 3)


def test_real_photos_with_the_real_detector(shared_data, studio):
    from osdface.faces import FaceDetector
    from osdface.faces.detection import find_detector

    detector = FaceDetector(find_detector(shared_data / "data/weights"))
    real = Studio(studio.models, detector, 20_000_000)
    photo = sorted((shared_data / "data/faces/whole_imgs").glob("*.jpg"))[0]
    clean = real.restore(Order(photo.read_bytes(), TINY_NAME, whole=True))
    assert clean.count >= 1 and not np.array_equal(clean.before, clean.after)
    worse = Order(photo.read_bytes(), TINY_NAME, True, "waveface", 0.2)
    assert real.restore(worse).count >= 1
