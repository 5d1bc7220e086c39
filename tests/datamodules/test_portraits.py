"""Checks of the procedural portraits: determinism, labels, alignment and agreement of sizes."""

import dataclasses

import cv2
import numpy as np
import pytest

from datamodules.portraits import (
    ATTRIBUTES,
    LANDMARK_NAMES,
    Nuisance,
    render_portrait,
    sample_identity,
    sample_nuisance,
)
from datamodules.portraits.grid import GRID, WHOLE, enlarge, grid_part
from datamodules.portraits.raster import blurred

SEED = 7


def _point(portrait, name: str) -> np.ndarray:
    return portrait.landmarks[LANDMARK_NAMES.index(name)]


@pytest.fixture(scope="module")
def fifty():
    return [render_portrait(SEED, k, k % 3, 64) for k in range(50)]


def test_equal_arguments_give_equal_bytes_in_any_order(fifty):
    for k in (31, 4, 18):
        again = render_portrait(SEED, k, k % 3, 64)
        assert again.image.tobytes() == fifty[k].image.tobytes()
        assert again.landmarks.tobytes() == fifty[k].landmarks.tobytes()
        assert again.attributes == fifty[k].attributes


def test_global_random_state_plays_no_part():
    np.random.seed(1)
    first = render_portrait(SEED, 2, 0, 32).image
    state = np.random.get_state()[1].copy()
    assert np.array_equal(first, render_portrait(SEED, 2, 0, 32).image)
    assert np.array_equal(state, np.random.get_state()[1])


def test_identity_variation_and_seed_all_change_the_picture():
    base = render_portrait(SEED, 1, 0, 64).image.astype(float)
    for other in ((SEED, 2, 0), (SEED, 1, 1), (SEED + 1, 1, 0)):
        assert np.abs(render_portrait(*other, 64).image - base).mean() > 5.0


def test_identity_fields_do_not_depend_on_the_variation():
    first, second = (render_portrait(SEED, 3, v, 32).attributes for v in (0, 5))
    fixed = ("skin", "hair_colour", "hair_style", "eye_colour", "glasses", "beard")
    assert [first[name] for name in fixed] == [second[name] for name in fixed]
    people = [dataclasses.astuple(sample_identity(SEED, k))[1:] for k in range(100)]
    assert len(set(people)) == 100
    assert all(isinstance(value, int | float) for value in people[0])


@pytest.mark.parametrize("identity", range(4))
def test_two_resolutions_show_the_same_picture(identity):
    large = render_portrait(SEED, identity, 0, 256)
    small = render_portrait(SEED, identity, 0, 64)
    reduced = cv2.resize(large.image, (64, 64), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(reduced.ravel(), small.image.ravel())[0, 1] > 0.99
    assert np.abs((large.landmarks + 0.5) / 4 - (small.landmarks + 0.5)).max() < 1e-3
    assert large.attributes == small.attributes


@pytest.mark.parametrize("resolution", [32, 50, 96, 400])
def test_any_resolution_gives_a_square_byte_picture(resolution):
    portrait = render_portrait(SEED, 0, 0, resolution)
    assert portrait.image.shape == (resolution, resolution, 3)
    assert portrait.image.dtype == np.uint8
    assert portrait.landmarks.dtype == np.float32
    assert portrait.landmarks.shape == (len(LANDMARK_NAMES), 2)
    assert len(LANDMARK_NAMES) >= 20


def test_faces_are_aligned_like_ffhq_crops(fifty):
    expected = {"eye_left": (0.38, 0.47), "eye_right": (0.62, 0.47)}
    for portrait in fifty:
        frame = (portrait.landmarks + 0.5) / 64
        assert frame.min() > 0.0 and frame.max() < 1.0
        for name, place in expected.items():
            assert np.abs((_point(portrait, name) + 0.5) / 64 - place).max() < 0.07
    middle = np.mean([(p.landmarks + 0.5) / 64 for p in fifty], 0)
    for name, place in expected.items():
        assert np.abs(middle[LANDMARK_NAMES.index(name)] - place).max() < 0.02
    mouth = middle[[LANDMARK_NAMES.index(n) for n in ("mouth_left", "mouth_right")], 1]
    assert np.all((mouth > 0.67) & (mouth < 0.73))
    assert 0.88 < middle[LANDMARK_NAMES.index("chin"), 1] < 0.95


def test_attributes_are_in_range_and_every_class_occurs():
    seen = {name: set() for name in ATTRIBUTES}
    for k in range(200):
        ident = sample_identity(SEED, k)
        for name in ATTRIBUTES:
            if hasattr(ident, name):
                seen[name].add(getattr(ident, name))
    rng = np.random.default_rng(SEED)
    for _ in range(200):
        shot = sample_nuisance(rng)
        for name in ATTRIBUTES:
            if hasattr(shot, name):
                seen[name].add(getattr(shot, name))
    assert seen == {name: set(range(len(classes))) for name, classes in ATTRIBUTES.items()}


def test_labels_of_a_portrait_are_those_of_its_person(fifty):
    for k, portrait in enumerate(fifty):
        ident = sample_identity(SEED, k)
        assert portrait.identity == ident.index == k
        assert list(portrait.attributes) == list(ATTRIBUTES)
        assert portrait.attributes["glasses"] == ident.glasses


def test_light_label_agrees_with_the_direction():
    rng = np.random.default_rng(0)
    for _ in range(100):
        shot = sample_nuisance(rng)
        assert isinstance(shot, Nuisance)
        assert np.isclose(shot.light_x**2 + shot.light_y**2 + shot.light_z**2, 1.0)
        assert (shot.light_x < -0.3, shot.light_x > 0.3) == (shot.light == 0, shot.light == 2)


def test_pupils_are_darker_than_the_white():
    pupils, whites = [], []
    for k in range(8):
        portrait = render_portrait(SEED, k, 0, 256)
        grey = cv2.cvtColor(portrait.image, cv2.COLOR_RGB2GRAY).astype(float)
        for side in ("left", "right"):
            x, y = np.round(_point(portrait, f"iris_{side}")).astype(int)
            pupils.append(grey[y - 1 : y + 2, x - 1 : x + 2].mean())
            # The brightest spot of the eye beside the iris, clear of the catch light.
            row = grey[y - 2 : y + 6]
            whites.append(max(row[:, x - 14 : x - 8].max(), row[:, x + 9 : x + 15].max()))
    assert np.mean(pupils) < 60.0
    assert np.mean(np.array(whites) - np.array(pupils) > 40.0) > 0.9


def test_the_lamp_side_of_the_face_is_brighter(fifty):
    difference = {0: [], 2: []}
    for portrait in fifty:
        light = portrait.attributes["light"]
        if light == 1:
            continue
        grey = cv2.cvtColor(portrait.image, cv2.COLOR_RGB2GRAY).astype(float)
        # Cheeks: between the nose wing and the jaw, a little under the eyes.
        sides = []
        for side in ("left", "right"):
            a, b = _point(portrait, f"nose_{side}"), _point(portrait, f"jaw_{side}_0")
            x, y = np.round(0.5 * (a + b)).astype(int)
            sides.append(grey[y - 1 : y + 2, x - 1 : x + 2].mean())
        difference[light].append(sides[0] - sides[1])
    assert np.mean(difference[0]) > 15.0
    assert np.mean(difference[2]) < -15.0


@pytest.mark.parametrize("sigma", [0.3, 0.64, 1.3, 2.0, 2.9])
def test_the_fast_blur_is_that_of_opencv(sigma):
    picture = np.random.default_rng(0).integers(0, 256, (60, 47), np.uint8)
    assert np.array_equal(blurred(picture, sigma), cv2.GaussianBlur(picture, (0, 0), sigma))


@pytest.mark.parametrize("size", [256, 288, 300, 1024])
def test_a_part_of_a_grid_is_enlarged_like_the_whole(size):
    grid = np.random.default_rng(0).random((GRID, GRID, 3), np.float32)
    place = (slice(size // 7, size // 3), slice(size // 5, size))
    part = grid_part(place, size)
    large = enlarge(grid[part], part, place, size)
    assert np.allclose(large, enlarge(grid, WHOLE, place, size), rtol=0, atol=1e-6)
