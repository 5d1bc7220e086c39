"""Shards: what is written is what is read, and damage is told."""

import io
import json
import tarfile

import cv2
import numpy as np
import pytest
import webdataset

from datamodules.decoding import decode_image
from datamodules.records import BrokenSample
from datamodules.shards import Remote, ShardSource, expand_urls, index_tar, split_urls, write_shards
from osdface.errors import UserError
from osdface.files import sha256_file


@pytest.fixture
def shards(tmp_path, encoded):
    """Returns a folder with 7 samples in shards of 3."""
    root = tmp_path / "shards"
    samples = ((f"p{n // 2}_{n:04d}", encoded(n), {"identity": 10 + n, "n": n}) for n in range(7))
    write_shards(samples, root, "train", 3, {"resolution": 40})
    return root


def test_round_trip_keeps_pixels_and_labels(shards, picture):
    source = ShardSource("train-*.tar", shards)
    assert source.keys == [f"p{n // 2}_{n:04d}" for n in range(7)]
    for n in (6, 0, 3):
        record = source.read(n)
        assert (record.key, record.identity, record.labels["n"]) == (source.keys[n], 10 + n, n)
        np.testing.assert_array_equal(decode_image(record.image), picture(n))


def test_webdataset_reads_the_same(shards, picture):
    dataset = webdataset.WebDataset(
        [str(path) for path in sorted(shards.glob("*.tar"))], shardshuffle=False
    )
    samples = list(dataset)
    assert [sample["__key__"] for sample in samples] == ShardSource("*.tar", shards).keys
    np.testing.assert_array_equal(decode_image(samples[4]["png"]), picture(4))
    assert json.loads(samples[4]["json"])["n"] == 4


def test_manifest_says_what_is_there(shards, encoded):
    manifest = json.loads((shards / "manifest.json").read_text())
    train = manifest["splits"]["train"]
    assert manifest["settings"] == {"resolution": 40}
    assert [shard["samples"] for shard in train["shards"]] == [3, 3, 1] and train["samples"] == 7
    for shard in train["shards"]:
        assert shard["bytes"] == (shards / shard["name"]).stat().st_size
        assert shard["sha256"] == sha256_file(shards / shard["name"])
    write_shards([("a", encoded(1, ".jpg"), {})], shards, "val")
    assert split_urls(shards, "train") == [f"train-{n:06d}.tar" for n in range(3)]
    assert split_urls(shards, "val") == ["val-000000.tar"] and split_urls(shards, "test") == []


def test_writing_again_gives_the_same_bytes(shards, tmp_path, encoded):
    samples = [(f"p{n // 2}_{n:04d}", encoded(n), {"identity": 10 + n, "n": n}) for n in range(7)]
    again = write_shards(samples, tmp_path / "again", "train", 3, {"resolution": 40})
    assert again == json.loads((shards / "manifest.json").read_text())


def test_an_error_leaves_no_half_shard(tmp_path, encoded):
    def failing():
        for n in range(4):
            yield f"s{n}", encoded(n), {}
        raise RuntimeError("source failed")

    with pytest.raises(RuntimeError, match="source failed"):
        write_shards(failing(), tmp_path / "out", "train", 3)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["train-000000.tar"]
    assert len(ShardSource("*.tar", tmp_path / "out").keys) == 3


@pytest.mark.parametrize(
    "tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
)
def test_index_finds_what_tarfile_finds(tmp_path, tar_format):
    path = tmp_path / "a.tar"
    names = ["a.png", "b/c.json", "long/" * 15 + "x" * 80 + ".png", "ä ö.png", "empty.txt"]
    if tar_format != tarfile.USTAR_FORMAT:
        names.append("y" * 180 + ".png")
    with tarfile.open(path, "w", format=tar_format) as tar:
        for number, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size = 0 if name == "empty.txt" else 300 * number + 1
            info.mtime = 1234567.5 if tar_format == tarfile.PAX_FORMAT else 0
            tar.addfile(info, io.BytesIO(bytes(info.size)))
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "a.png"
        tar.addfile(link)
    with tarfile.open(path) as tar:
        expected = [(m.name, m.offset_data, m.size) for m in tar.getmembers() if m.isreg()]
    index = index_tar(path)
    assert [(m.name, m.offset, m.size) for m in index.members] == expected
    assert len(expected) == len(names) and index.damage is None


@pytest.mark.parametrize("cut", [1, 100, 512, 700])
def test_truncated_tar_keeps_its_whole_samples_and_is_reported(shards, cut, caplog):
    path = shards / "train-000001.tar"
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-1]  # the image of the shard's last sample
    data = path.read_bytes()
    path.write_bytes(data[: last.offset_data + last.size - cut])
    source = ShardSource("*.tar", shards)
    assert list(source.damaged) == [path]
    assert "train-000001.tar" in caplog.text and "cut off" in caplog.text
    assert source.keys == [f"p{n // 2}_{n:04d}" for n in range(7) if n != 5]
    assert source.read(5).labels["n"] == 6


def test_damage_is_named(tmp_path, shards):
    rubbish = tmp_path / "rubbish.tar"
    rubbish.write_bytes(b"no tar at all " * 100)
    assert "no tar header at byte 0" in str(index_tar(rubbish).damage)
    rubbish.write_bytes(b"")
    assert index_tar(rubbish).damage == "the file is empty"
    data = bytearray((shards / "train-000000.tar").read_bytes())
    data[3] ^= 1  # a bit of the first name: only the checksum tells
    rubbish.write_bytes(data)
    assert index_tar(rubbish).damage is not None
    with pytest.raises(UserError, match="No image in 1 shard"):
        ShardSource(str(rubbish))


def test_vanished_shard_breaks_the_sample_only(shards):
    source = ShardSource("*.tar", shards)
    (shards / "train-000002.tar").unlink()
    assert source.read(5).labels["n"] == 5
    with pytest.raises(BrokenSample, match="No such file"):
        source.read(6)


def test_equal_keys_in_two_shards_are_told_apart(tmp_path, encoded):
    for name in ("one", "two"):
        write_shards([("000_1", encoded(1), {}), (name, encoded(2), {})], tmp_path / name)
        (tmp_path / name / "train-000000.tar").rename(tmp_path / f"{name}.tar")
    keys = ShardSource(["one.tar", "two.tar"], tmp_path).keys
    assert keys == ["one-000_1", "one", "two-000_1", "two"]


def test_fingerprint_follows_the_content(shards, tmp_path, encoded):
    first = ShardSource("*.tar", shards).fingerprint()
    assert ShardSource("*.tar", shards).fingerprint() == first
    write_shards([("p0_0000", encoded(9), {})], shards, "train", 3)
    assert ShardSource("*.tar", shards).fingerprint() != first


def test_urls(shards):
    names = [f"train-{n:06d}.tar" for n in range(3)]
    for urls in ("train-*.tar", "train-{000000..000002}.tar", names, str(shards / "*.tar")):
        assert [path.name for path in expand_urls(urls, shards)] == names


@pytest.mark.parametrize(
    ("urls", "words"),
    [
        ("nothing-*.tar", "No shard matches 'nothing-"),
        ("train-{000003..000005}.tar", r"train-000003.tar .* does not exist"),
        (["train-000007.tar"], r"train-000007.tar .* does not exist"),
        (["train-*.tar", "train-000001.tar"], "named twice"),
        ("s3://bucket/train-000000.tar", "s3: .* cannot be read: give http"),
        ([], "empty"),
    ],
)
def test_bad_urls_are_told(shards, urls, words):
    with pytest.raises(UserError, match=words):
        expand_urls(urls, shards)


@pytest.mark.parametrize("how", ["missing", "unreadable", "manifest"])
def test_a_shard_that_cannot_be_opened_is_left_out_within_the_share(shards, caplog, how):
    urls = split_urls(shards, "train") if how == "manifest" else "train-{000000..000002}.tar"
    (shards / "train-000001.tar").unlink()
    if how == "unreadable":
        (shards / "train-000001.tar").symlink_to(shards / "train-000001.tar")  # a loop
    with pytest.raises(UserError, match=r"1 of 3 shards cannot be reached.*000001.tar") as caught:
        ShardSource(urls, shards)
    assert "data.max_broken_share" in str(caught.value) and "\n" not in str(caught.value)
    source = ShardSource(urls, shards, remote=Remote(max_lost_share=0.4))
    assert source.keys == [f"p{n // 2}_{n:04d}" for n in (0, 1, 2, 6)]
    assert list(source.damaged) == [str(shards / "train-000001.tar")] and "left out" in caplog.text


def test_bad_samples_and_folders_are_told(tmp_path, encoded, shards):
    with pytest.raises(UserError, match=r"a\.b"):
        write_shards([("a.b", encoded(1), {})], tmp_path / "x")
    with pytest.raises(UserError, match="shard_size is 0"):
        write_shards([], tmp_path / "x", shard_size=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_shards([("a", encoded(1), {})], tmp_path / "file" / "x")
    with pytest.raises(UserError, match="does not exist"):
        split_urls(tmp_path / "nowhere", "train")
    (shards / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="broken"):
        split_urls(shards, "train")


def test_image_formats(tmp_path, encoded):
    samples = [(f"s{n}", encoded(n, s), {}) for n, s in enumerate((".png", ".jpg", ".webp"))]
    write_shards(samples, tmp_path)
    with tarfile.open(tmp_path / "train-000000.tar") as tar:
        assert {"s0.png", "s1.jpg", "s2.webp"} < set(tar.getnames())
    source = ShardSource("*.tar", tmp_path)
    assert all(decode_image(source.read(n).image).shape == (40, 40, 3) for n in range(3))
    with pytest.raises(ValueError, match="PNG, JPEG or WebP"):
        write_shards([("a", cv2.imencode(".bmp", np.zeros((4, 4, 3)))[1].tobytes(), {})], tmp_path)
