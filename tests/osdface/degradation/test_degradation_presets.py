"""The presets' numbers, the parameters' distributions, and what a config may say."""

from dataclasses import replace

import numpy as np
import pytest

from osdface.degradation import PRESETS, Degradation, build_degradation, sample_parameters
from osdface.errors import UserError

# Copied by hand from the table in the method's description.
TABLE = """
daefr_codebook 39 41 0.1 10 0.8 8  0 20 60 100
daefr_final    39 41 0.1 15 0.8 30 0 20 30 100
waveface       41 41 0.1 10 0.8 16 0 15 40 95
codeformer     41 41 1   15 4   30 0 20 30 80
osediff_face   41 41 1   15 1   30 0 20 30 100
difface        41 41 0.1 15 0.8 32 0 20 30 100
"""
ROWS = [line.split() for line in TABLE.strip().splitlines()]


def draw(degradation, count=4000):
    rng = np.random.default_rng(7)
    return [sample_parameters(degradation, rng) for _ in range(count)]


def assert_uniform(values, low, high):
    """Mean, variance and extremes of a uniform distribution, within 4 standard errors."""
    values = np.asarray(values, dtype=float)
    width = high - low
    assert values.min() >= low and values.max() <= high
    assert abs(values.mean() - (low + high) / 2) < 4 * width / np.sqrt(12 * len(values))
    assert abs(values.var() - width**2 / 12) < 4 * width**2 * np.sqrt(1 / 180 / len(values))
    assert values.min() < low + 0.02 * width and values.max() > high - 0.02 * width


def test_there_are_no_other_presets():
    assert list(PRESETS) == [row[0] for row in ROWS]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_parameters_are_uniform_in_the_table_s_ranges(row):
    name, numbers = row[0], [float(text) for text in row[1:]]
    drawn = draw(PRESETS[name])
    assert {p.kernel_size for p in drawn} == {int(numbers[0]), int(numbers[1])}
    assert_uniform([p.sigma_x for p in drawn], *numbers[2:4])
    assert_uniform([p.down for p in drawn], *numbers[4:6])
    assert_uniform([p.noise for p in drawn], *numbers[6:8])
    qualities = np.array([p.jpeg_quality for p in drawn])
    assert (qualities.min(), qualities.max()) == (numbers[8], numbers[9])
    assert abs(qualities.mean() - sum(numbers[8:]) / 2) < 1
    anisotropic = [p for p in drawn if p.sigma_y is not None]
    assert abs(len(anisotropic) / len(drawn) - 0.5) < 4 * 0.5 / np.sqrt(len(drawn))
    assert_uniform([p.sigma_y for p in anisotropic], *numbers[2:4])
    assert_uniform([p.theta for p in anisotropic], -np.pi, np.pi)
    gray = np.mean([p.gray for p in drawn])
    assert 0.004 < gray < 0.017 if name == "difface" else gray == 0


def test_changing_one_range_leaves_the_other_values():
    before = draw(build_degradation("waveface"), 20)
    after = draw(build_degradation({"preset": "waveface", "noise": [5, 6]}), 20)
    for first, second in zip(before, after, strict=True):
        assert (first.down, first.sigma_x, first.jpeg_quality) == (
            second.down, second.sigma_x, second.jpeg_quality,
        )  # fmt: skip
        assert 5 <= second.noise <= 6


def test_scaling_to_64_pixels():
    small = build_degradation({"preset": "waveface", "strength_scale": 0.125})
    assert small.kernel == (7, 7)  # 41 / 8 = 5.1, next odd
    assert small.sigma == pytest.approx((0.0125, 1.25))
    assert small.down == pytest.approx((0.8, 2.0))
    assert (small.noise, small.jpeg) == ((0, 15), (40, 95))
    tiny = build_degradation({"preset": "codeformer", "strength_scale": 0.01})
    assert tiny.kernel == (3, 3) and tiny.down == pytest.approx((1.0, 1.2))
    assert build_degradation({"preset": "codeformer", "strength_scale": 1}) == PRESETS["codeformer"]


def test_own_ranges_without_a_preset():
    own = {"kernel": [3, 5], "sigma": [1, 2], "down": 2, "noise": [0, 1], "jpeg": [50, 60]}
    assert build_degradation(own) == Degradation((3, 5), (1, 2), (2, 2), (0, 1), (50, 60))


def test_further_orders_by_config():
    first, second = PRESETS["waveface"], replace(PRESETS["codeformer"], noise=(0, 5))
    own = {"preset": "codeformer", "noise": [0, 5]}
    assert build_degradation({"preset": "waveface", "then": own}) == replace(first, then=second)
    three = build_degradation({"preset": "waveface", "then": [own, "difface"]})
    assert three == replace(first, then=replace(second, then=PRESETS["difface"]))
    small = build_degradation({"preset": "waveface", "then": [own], "strength_scale": 0.125})
    assert small == replace(first.scaled(0.125), then=second.scaled(0.125))
    assert build_degradation({"preset": "waveface", "then": []}) == first


def test_a_further_order_draws_from_its_ranges_and_leaves_the_first_alone():
    once = draw(build_degradation("waveface"), 1)[0]
    chain = build_degradation({"preset": "waveface", "then": ["codeformer", "daefr_codebook"]})
    assert replace(draw(chain, 1)[0], then=None) == once
    drawn = draw(chain)
    assert_uniform([p.then.sigma_x for p in drawn], 1, 15)
    assert_uniform([p.then.down for p in drawn], 4, 30)
    assert_uniform([p.then.then.noise for p in drawn], 0, 20)
    pairs = np.array([(p.sigma_x, p.then.sigma_x, p.then.then.sigma_x) for p in drawn])
    assert np.abs(np.corrcoef(pairs.T) - np.eye(3)).max() < 4 / np.sqrt(len(drawn))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("wavface", "did you mean waveface"),
        ({"preset": "waveface", "nois": [0, 1]}, "did you mean noise"),
        ({"preset": "waveface", "strength_scale": 0}, "strength_scale"),
        ({"preset": "waveface", "strength_scale": "much"}, "strength_scale"),
        ({"preset": "waveface", "noise": [9, 1]}, "degradation.noise"),
        ({"preset": "waveface", "noise": [1, 2, 3]}, "degradation.noise"),
        ({"preset": "waveface", "jpeg": [0, 50]}, "degradation.jpeg"),
        ({"preset": "waveface", "jpeg": [10.5, 50]}, "whole numbers"),
        ({"preset": "waveface", "kernel": [4, 5]}, "odd"),
        ({"preset": "waveface", "gray": 2}, "gray"),
        ({"sigma": [1, 2]}, "down, jpeg, kernel, noise"),
        ({"preset": "waveface", "then": "wavface"}, "did you mean waveface"),
        ({"preset": "waveface", "then": {"nois": [0, 1]}}, "did you mean noise"),
        ({"preset": "waveface", "then": 2}, "preset names or mappings"),
        ({"preset": "waveface", "then": [2]}, "preset names or mappings"),
        ({"preset": "waveface", "then": {"preset": "difface", "strength_scale": 1}}, "Unknown key"),
    ],
)
def test_bad_settings_are_told_in_one_sentence(config, words):
    with pytest.raises(UserError, match=words) as caught:
        build_degradation(config)
    assert "\n" not in str(caught.value)
