"""Pairs: values, sizes, flips, labels, and what happens to broken images."""

import io
import pickle

import numpy as np
import pytest
import torch
from PIL import Image, WebPImagePlugin  # the plugin: else Pillow imports all it has, 5 s

from datamodules import decoding
from datamodules.dataset import FaceDataset, UnreadableDataError
from datamodules.decoding import decode_image, fit_points, fit_square
from datamodules.folders import FolderSource
from datamodules.labels import LabelSet
from datamodules.records import BrokenSample, Record
from datamodules.samplers import Draw
from osdface.degradation import build_degradation, degrade, rng_for
from osdface.errors import UserError

WAVEFACE = build_degradation({"preset": "waveface", "strength_scale": 0.1})


@pytest.fixture
def dataset(folder):
    return FaceDataset(FolderSource(folder), 40, WAVEFACE, seed=3)


def test_values(dataset, picture):
    item = dataset[Draw(2, 7)]
    assert item["key"] == "personc_0001" and item["identity"].item() == 2
    assert item["hq"].dtype == item["lq"].dtype == torch.float32
    expected = picture(7).astype(np.float64).transpose(2, 0, 1) / 127.5 - 1
    np.testing.assert_allclose(item["hq"].numpy(), expected, atol=1e-6)
    low = degrade(picture(7), WAVEFACE, 3, 2, "personc_0001")
    np.testing.assert_allclose(item["lq"].numpy(), low.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)
    assert "landmarks" not in item and "attributes" not in item


def test_an_int_means_epoch_0_and_epochs_differ(dataset):
    assert torch.equal(dataset[4]["lq"], dataset[Draw(0, 4)]["lq"])
    assert not torch.equal(dataset[4]["lq"], dataset[Draw(1, 4)]["lq"])
    assert torch.equal(dataset[4]["hq"], dataset[Draw(1, 4)]["hq"])


def test_half_of_the_images_are_mirrored(folder, picture):
    flipping = FaceDataset(FolderSource(folder), 40, WAVEFACE, flip=True)
    plain = FaceDataset(FolderSource(folder), 40, WAVEFACE)
    mirrored = 0
    for epoch in range(4):
        for index in range(30):
            hq, original = flipping[Draw(epoch, index)]["hq"], plain[Draw(epoch, index)]["hq"]
            mirrored += torch.equal(hq, original.flip(-1))
            assert torch.equal(hq, original) or torch.equal(hq, original.flip(-1))
    assert 40 <= mirrored <= 80


def test_fit_square_crops_the_middle_and_averages():
    image = np.arange(8 * 12 * 3).reshape(8, 12, 3).astype(np.uint8)
    np.testing.assert_array_equal(fit_square(image, 8), image[:, 2:10])
    means = image[:, 2:10].astype(float).reshape(4, 2, 4, 2, 3).mean((1, 3))
    np.testing.assert_allclose(fit_square(image, 4), means, atol=0.51)
    assert fit_square(image, 20).shape == (20, 20, 3)


def test_points_follow_the_pixels():
    image = np.zeros((40, 60, 3), np.uint8)
    image[20:22, 30:32] = 255  # centre (30.5, 20.5)
    small = fit_square(image, 20)[..., 0]
    y, x = np.argwhere(small == small.max()).mean(0)
    points = fit_points(np.array([[30.5, 20.5]], np.float32), 40, 60, 20)
    np.testing.assert_allclose(points, [[x, y]], atol=0.01)


class OneRecord:
    """A source of one labelled picture."""

    keys = ("only",)

    def __init__(self, image, labels):
        self.record = Record("only", image, 5, labels)

    def read(self, index):
        return self.record

    def fingerprint(self):
        return "one"


LABELS = LabelSet(
    {"light": ("left", "front", "right"), "hair": ("short", "long")},
    ("eye_left", "eye_right", "chin"),
)


def test_labels_and_their_mirror_image(encoded):
    points = [[10.0, 12.0], [28.0, 11.0], [20.0, 33.0]]
    source = OneRecord(encoded(1), {"attributes": {"hair": 1, "light": 0}, "landmarks": points})
    dataset = FaceDataset(source, 20, WAVEFACE, flip=True, labels=LABELS)
    flips = [rng_for(0, epoch, "only", "flip").random() < 0.5 for epoch in range(20)]
    plain, mirrored = dataset[Draw(flips.index(False), 0)], dataset[Draw(flips.index(True), 0)]
    halved = (np.array(points) + 0.5) / 2 - 0.5
    np.testing.assert_allclose(plain["landmarks"], halved, atol=1e-5)
    assert plain["attributes"].tolist() == [0, 1] and plain["attributes"].dtype == torch.int64
    swapped = halved[[1, 0, 2]]  # what was the right eye in the picture is now the left one
    expected = np.stack([19 - swapped[:, 0], swapped[:, 1]], -1)
    np.testing.assert_allclose(mirrored["landmarks"], expected, atol=1e-5)
    assert mirrored["attributes"].tolist() == [2, 1]
    assert torch.equal(mirrored["hq"], plain["hq"].flip(-1))


def test_missing_labels_are_told(encoded, dataset):
    for labels in ({}, {"landmarks": [[0, 0]]}, {"landmarks": [[0, 0]] * 3, "attributes": {}}):
        with pytest.raises(UserError, match="with_attributes=false"):
            FaceDataset(OneRecord(encoded(1), labels), 20, WAVEFACE, labels=LABELS)[0]


def test_broken_image_is_replaced_reported_once_and_counted(dataset, folder, caplog):
    (folder / "personc_0001.png").write_bytes(b"not an image")
    draw = Draw(1, 7, (7, 12, 3))
    for _ in range(3):
        item = dataset[draw]
        assert item["key"] == dataset.source.keys[12]
        assert torch.equal(item["lq"], dataset[Draw(1, 12)]["lq"])
    assert dataset.broken_keys == ["personc_0001"]
    assert caplog.text.count("personc_0001 is broken") == 1


def test_a_broken_spare_is_passed_over(dataset, folder):
    for name in ("persona_0000", "persona_0001"):
        (folder / f"{name}.png").unlink()
    dataset.max_broken_share = 0.1
    assert dataset[Draw(0, 0, (1, 2))]["key"] == "persona_0002"


def test_too_many_broken_images_stop(dataset, folder):
    for path in sorted(folder.iterdir())[:3]:
        path.write_bytes(b"")
    dataset.max_broken_share = 0.05
    dataset[Draw(0, 0, (5,))]
    with pytest.raises(UserError, match=r"2 of 30 images cannot be read.*persona_0000"):
        dataset[Draw(0, 1, (5,))]
    with pytest.raises(UserError, match="max_broken_share"):
        dataset.check_broken_share()


def test_no_readable_spare_is_told(dataset, folder):
    (folder / "persona_0000.png").unlink()
    with pytest.raises(UserError, match="Neither the image 'persona_0000'"):
        dataset[Draw(0, 0, (0,))]


def test_a_worker_s_error_is_one_sentence(dataset, folder):
    for path in folder.iterdir():
        path.unlink()
    loader = torch.utils.data.DataLoader(dataset, 2, num_workers=1)
    with pytest.raises(UserError) as caught:
        list(loader)
    assert str(caught.value).startswith("Neither the image 'persona_0000'")
    assert "\n" not in str(caught.value)
    assert str(UnreadableDataError("plain")) == "plain"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
def test_decoding_is_pillow_s_and_truncation_is_noticed(encoded, suffix):
    assert WebPImagePlugin
    data = encoded(2, suffix)
    pillow = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(decode_image(data).astype(int) - pillow).max() <= (
        0 if suffix in (".png", ".bmp") else 3
    )
    for cut in (b"", data[:10], data[: len(data) // 2], data[:-3]):
        if suffix == ".bmp" and cut == data[:-3]:
            continue  # a bitmap has no end mark
        with pytest.raises(BrokenSample):
            decode_image(cut)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_truncation_is_noticed_whatever_opencv_makes_of_it(encoded, suffix):
    data = encoded(2, suffix)
    assert not decoding._is_cut_off(data)
    for cut in (data[:-10], data[: len(data) * 9 // 10]):
        assert decoding._is_cut_off(cut)


def test_jpeg_with_a_trailer_is_whole(encoded):
    assert decode_image(encoded(1, ".jpg") + b"trailer of a phone").shape == (40, 40, 3)


def test_dataset_survives_pickling(dataset):
    copy = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copy[5]["lq"], dataset[5]["lq"])


def test_tiny_resolution_is_told(folder):
    with pytest.raises(UserError, match="resolution is 4"):
        FaceDataset(FolderSource(folder), 4, WAVEFACE)
