"""Evaluation sets: pairs by name, counted, and told where something is wrong."""

import numpy as np
import pytest

from datamodules.pairs import PairedImages, UnpairedImages
from datamodules.shards import write_shards
from osdface.errors import UserError


@pytest.fixture
def pairs(tmp_path, encoded):
    """Returns folders of 5 HQ and 5 LQ pictures of the same names, suffixes differing."""
    for name, suffix, shift in (("hq", ".png", 0), ("lq", ".jpg", 50)):
        (tmp_path / name).mkdir()
        for number in range(5):
            path = tmp_path / name / f"face{number}{suffix}"
            path.write_bytes(encoded(number + shift, suffix))
    return tmp_path / "hq", tmp_path / "lq"


def test_pairs_have_equal_names_and_right_values(pairs, picture):
    dataset = PairedImages(*pairs, expected=5)
    assert len(dataset) == 5 and dataset.keys == [f"face{n}" for n in range(5)]
    item = dataset[3]
    expected = picture(3).transpose(2, 0, 1) / 127.5 - 1
    np.testing.assert_allclose(item["hq"].numpy(), expected, atol=1e-6)
    low = picture(53).transpose(2, 0, 1) / 127.5 - 1
    assert item["key"] == "face3" and np.abs(item["lq"].numpy() - low).mean() < 0.05


def test_shards_give_the_same_pairs(pairs, encoded, tmp_path):
    for name, suffix, shift in (("hq", ".png", 0), ("lq", ".jpg", 50)):
        order = range(5) if name == "hq" else reversed(range(5))
        samples = [(f"face{n}", encoded(n + shift, suffix), {}) for n in order]
        write_shards(samples, tmp_path / f"{name}_shards", "test", 2)
    folders = PairedImages(*pairs)
    by_urls = PairedImages(f"{tmp_path}/hq_shards/test-*.tar", f"{tmp_path}/lq_shards/test-*.tar")
    by_manifest = PairedImages(tmp_path / "hq_shards", tmp_path / "lq_shards")
    for number in range(5):
        for other in (by_urls[number], by_manifest[number]):
            assert other["key"] == folders[number]["key"]
            for part in ("hq", "lq"):
                assert (other[part] == folders[number][part]).all()


def test_missing_and_extra_images_are_listed(pairs, encoded):
    hq, lq = pairs
    (lq / "face2.jpg").unlink()
    (lq / "face4.jpg").unlink()
    with pytest.raises(UserError, match=r"lq lacks 2 image\(s\): face2, face4, which .*hq holds"):
        PairedImages(hq, lq)
    for number in (2, 4, 9):
        (lq / f"face{number}.jpg").write_bytes(encoded(number))
    with pytest.raises(UserError, match=r"hq lacks 1 image\(s\): face9"):
        PairedImages(hq, lq)


def test_differing_sizes_are_listed(pairs, encoded):
    hq, lq = pairs
    for number in (1, 3):
        (lq / f"face{number}.jpg").write_bytes(encoded(number, ".jpg", 20))
    with pytest.raises(UserError, match=r"2 image\(s\): face1 \(40x40 and 20x20\), face3"):
        PairedImages(hq, lq)
    with pytest.raises(UserError, match="face1"):
        PairedImages(hq, lq, check_sizes=False)[1]


def test_counts(pairs):
    assert len(UnpairedImages(pairs[1], 5)) == 5
    assert set(UnpairedImages(pairs[1])[0]) == {"lq", "key"}
    with pytest.raises(UserError, match="holds 5 images instead of 1711"):
        UnpairedImages(pairs[1], "lfw_test")
    with pytest.raises(UserError, match="instead of 3000"):
        PairedImages(*pairs, expected="celeba_test")
    with pytest.raises(UserError, match="choose celeba_test"):
        UnpairedImages(pairs[1], "celeba")


def test_a_broken_image_is_named(pairs):
    (pairs[1] / "face2.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match="'face2' cannot be read"):
        PairedImages(*pairs)
    with pytest.raises(UserError, match="'face2' cannot be read"):
        UnpairedImages(pairs[1])[2]
    with pytest.raises(UserError, match="does not exist"):
        UnpairedImages(pairs[1] / "nowhere")


def test_a_folder_of_several_splits_is_ambiguous(tmp_path, encoded):
    for split in ("train", "val"):
        write_shards([(split, encoded(1), {})], tmp_path, split)
    with pytest.raises(UserError, match="more than one split"):
        UnpairedImages(tmp_path)
    write_shards([("test", encoded(1), {})], tmp_path, "test")
    assert UnpairedImages(tmp_path).keys == ["test"]
