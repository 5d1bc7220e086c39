"""Shards from a folder: what is in them, what is left out, and what survives a kill."""

import csv
import io
import json
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import webdataset
from PIL import Image

from datamodules.decoding import decode_image
from datamodules.faces import FaceDataModule
from datamodules.samplers import Draw
from datamodules.shards import ShardSource
from experiments.data_tools.listing import safe_key
from experiments.make_shards import main
from osdface.files import read_json, sha256_file

ROOT = Path(__file__).resolve().parents[3]
SMALL = ["resolution=32", "shard_size=4", "workers=1", "min_size=30"]


def make(source, output, *more):
    return main([f"source={source}", f"output={output}", *SMALL, *more])


def rows(output):
    with open(output / "report.csv", encoding="utf-8", newline="") as file:
        return {row["file"]: row["reason"] for row in csv.DictReader(file)}


def files(output):
    return {path.name: sha256_file(path) for path in output.iterdir() if path.name != ".lock"}


@pytest.fixture
def made(pictures, tmp_path):
    assert make(pictures, tmp_path / "out", "format=png", "split.val=0.2") == 0
    return tmp_path / "out"


def test_every_usable_picture_is_there_once_and_leads_back(made, pictures):
    manifest = read_json(made / "manifest.json")
    seen = {}
    for split, count in (("train", 10), ("val", 3)):
        source = ShardSource(f"{split}-*.tar", made, "none")
        assert abs(len(source.keys) - count) <= 2  # broken ones were drawn for either
        assert manifest["splits"][split]["samples"] == len(source.keys)
        for number in range(len(source.keys)):
            record = source.read(number)
            seen[record.labels["source"]] = record
            assert record.key == safe_key(record.labels["source"]) or "00000" in record.key
    assert len(seen) == 11 == len({record.key for record in seen.values()})
    assert all(re.fullmatch(r"[\w-]+", record.key, re.A) for record in seen.values())
    for name, record in seen.items():
        image = Image.open(pictures / name).convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.crop((left, top, left + side, top + side))
        expected = np.asarray(square.resize((32, 32), Image.Resampling.LANCZOS)).astype(int)
        near = 0 if name.endswith(".png") else 4  # decoders differ for jpg and webp
        assert np.abs(decode_image(record.image) - expected).max() <= near


def test_the_report_names_what_was_left_out_and_why(made):
    found = rows(made)
    assert set(found) == {
        "cut.png", "cut.jpg", "empty.png", "text.jpg", "small.png", "notes.txt", "LICENSE",
    }  # fmt: skip
    assert "cut off" in found["cut.png"] and "cut off" in found["cut.jpg"]
    assert found["small.png"] == "too small: 60x20, min_size=30"
    assert read_json(made / "manifest.json")["left_out"] == 7


def test_manifest_and_indexes_describe_the_shards(made):
    manifest = read_json(made / "manifest.json")
    for split in manifest["splits"].values():
        for shard in split["shards"]:
            path = made / shard["name"]
            assert (path.stat().st_size, sha256_file(path)) == (shard["bytes"], shard["sha256"])
            index = read_json(path.with_suffix(".idx"))
            with tarfile.open(path) as tar:
                expected = [[each.name, each.offset_data, each.size] for each in tar]
            assert index["members"] == expected and index["sha256"] == shard["sha256"]
    shards = manifest["splits"]["train"]["shards"]
    assert len(shards) >= 2 and all(shard["samples"] == 4 for shard in shards[:-1])
    settings = manifest["settings"]
    assert (settings["resolution"], settings["format"], settings["images"]) == (32, "png", 16)


def test_our_data_module_and_webdataset_read_them(made):
    by_folder = FaceDataModule("shards", root=str(made), resolution=32, batch_size=2)
    by_urls = FaceDataModule("shards", urls=f"{made}/train-*.tar", val_count=2, resolution=32)
    assert next(iter(by_folder.train_dataloader()))["hq"].shape == (2, 3, 32, 32)
    train = set(by_folder.train_set.source.keys)
    assert train == {*by_urls.train_set.source.keys, *by_urls.val_set.source.keys}
    shards = [str(path) for path in sorted(made.glob("train-*.tar"))]
    dataset = webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8")
    samples = list(dataset)
    assert {sample["__key__"] for sample in samples} == train
    assert all(
        sample["png"].shape == (32, 32, 3) and sample["json"]["source"] for sample in samples
    )


@pytest.mark.parametrize("workers", [2, 3])
def test_the_number_of_workers_changes_no_byte(made, pictures, tmp_path, workers):
    assert make(pictures, tmp_path / "b", "format=png", "split.val=0.2", f"workers={workers}") == 0
    assert files(tmp_path / "b") == files(made)


def test_repeating_does_nothing_and_other_settings_are_refused(made, pictures, draw, capsys):
    before = {path: path.stat().st_mtime_ns for path in made.iterdir()}
    words = ("format=png", "split.val=0.2")
    assert make(pictures, made, *words) == 0
    assert {path: path.stat().st_mtime_ns for path in made.iterdir()} == before | {
        made / ".lock": (made / ".lock").stat().st_mtime_ns
    }
    assert make(pictures, made, "format=webp", "split.val=0.2") == 2
    assert "format was png, is webp" in capsys.readouterr().err
    (pictures / "new.png").write_bytes(draw(40))
    assert make(pictures, made, *words) == 2
    assert "other pictures" in capsys.readouterr().err
    (pictures / "new.png").unlink()
    (made / "train-000000.tar").unlink()
    assert make(pictures, made, *words) == 2
    assert "train-000000.tar is missing or changed" in capsys.readouterr().err


def test_a_killed_run_goes_on_without_loss_or_repeat(tmp_path, draw):
    source = tmp_path / "many"
    source.mkdir()
    for number in range(120):
        (source / f"{number:04d}.jpg").write_bytes(draw(number, ".jpg", 512, 512))
    (source / "0033.jpg").write_text("broken")
    words = [f"source={source}", "shard_size=15", "resolution=256", "workers=2"]
    command = [sys.executable, "-m", "experiments.make_shards", *words]
    output = tmp_path / "out"
    kills = 0
    for wanted in (1, 3):
        process = subprocess.Popen(
            [*command, f"output={output}"], cwd=ROOT, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        while len(list(output.glob("train-*.tar"))) < wanted and process.poll() is None:
            time.sleep(0.005)
        kills += process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert kills == 2 and not (output / "manifest.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in output.glob("train-00000[01].tar")}
    (output / ".train-000005.dead.tar").write_text("of a killed process")
    assert main([*words, f"output={output}"]) == 0
    assert kept and {path: path.stat().st_mtime_ns for path in kept} == kept
    assert main([*words, f"output={tmp_path / 'once'}"]) == 0
    assert files(output) == files(tmp_path / "once")
    keys = [key for s in ("train", "val") for key in ShardSource(f"{s}-*.tar", output).keys]
    assert len(keys) == len(set(keys)) == 119 and list(rows(output)) == ["0033.jpg"]


def test_killed_at_random_moments_nothing_is_lost_or_doubled(tmp_path, draw):
    source, output, once = (tmp_path / name for name in ("many", "out", "once"))
    source.mkdir()
    for number in range(60):
        (source / f"{number:04d}.jpg").write_bytes(draw(number, ".jpg", 200, 200))
    (source / "0007.jpg").write_text("broken")
    assert make(source, once, "split.val=0.2") == 0
    rng, killed = random.Random(1), 0
    for attempt in range(200):
        process = multiprocessing.get_context("fork").Process(
            target=lambda: sys.exit(make(source, output, "split.val=0.2"))
        )
        process.start()
        process.join(rng.uniform(0, 0.02 * (attempt + 1)))
        if process.exitcode is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        killed += 1
    assert process.exitcode == 0 and killed >= 4
    assert files(output) == files(once) and not list(output.glob(".train*"))
    keys = [key for s in ("train", "val") for key in ShardSource(f"{s}-*.tar", output).keys]
    assert len(keys) == len(set(keys)) == 59


def test_what_a_killed_process_left_is_taken_away(tmp_path, draw):
    source, output = tmp_path / "some", tmp_path / "out"
    source.mkdir()
    output.mkdir()
    for number in range(3):
        (source / f"{number}.jpg").write_bytes(draw(number, ".jpg", 600, 600))
    left = (".manifest.237ca30c.json", ".report.1b2c3d4e.csv")
    for name in left:
        (output / name).touch()
    (output / ".own").touch()
    assert make(source, output, "split.val=0") == 0
    assert not any((output / name).exists() for name in left) and (output / ".own").exists()


def test_retouched_pictures_stand_beside_and_are_a_target(tmp_path, draw, capsys):
    first, second = tmp_path / "original", tmp_path / "retouched"
    for number in range(8):
        for root, shift in ((first / "00000", 0), (second, 100)):
            root.mkdir(parents=True, exist_ok=True)
            (root / f"{number:05d}.png").write_bytes(draw(number + shift))
    (second / "00006.png").unlink()
    (second / "00007.png").write_text("broken")
    words = [f"pair_with={second}", "split.val=0", "format=png"]
    assert make(first, tmp_path / "out", *words) == 0
    assert rows(tmp_path / "out") == {
        "00000/00006.png": "retouched image: no such file in pair_with=",
        "00000/00007.png": "retouched image: the bytes cannot be decoded as an image",
    }

    def images(target, epochs=(0,)):
        data = FaceDataModule(
            "shards", urls=f"{tmp_path}/out/*.tar", val_count=1, resolution=32, batch_size=1,
            target=target, flip=False, data_seed=1, identity_from="none",
        ).train_set  # fmt: skip
        return [data[Draw(epoch, n)]["hq"].numpy() for n in range(5) for epoch in epochs]

    original, retouched = images("original"), images("retouched")
    assert all(np.abs(a - b).max() > 0.1 for a, b in zip(original, retouched, strict=True))
    mixed = images("mix", range(12))
    chosen = [np.array_equal(image, retouched[n // 12]) for n, image in enumerate(mixed)]
    assert 12 < sum(chosen) < 48
    assert all(c or np.array_equal(m, original[n // 12]) for n, (c, m) in enumerate(
        zip(chosen, mixed, strict=True)
    ))  # fmt: skip
    samples = list(
        webdataset.WebDataset(str(tmp_path / "out/train-000000.tar"), shardshuffle=False)
    )
    assert {"png", "retouched.png", "json"} <= samples[0].keys()
    make(first, tmp_path / "plain", "split.val=0")
    for target, words in (("mix", "make shards with pair_with"), ("retouched", "No retouched")):
        with pytest.raises(Exception, match=words):
            ShardSource("*.tar", tmp_path / "plain", target=target)


def test_a_full_disk_ends_with_one_sentence_and_no_half_shard(tmp_path, pictures):
    # The kernel refuses to write more than 20,000 bytes into one file.
    code = (
        "import resource, sys; from experiments.make_shards import main; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); sys.exit(main(sys.argv[1:]))"
    )
    output = tmp_path / "out"
    words = [f"source={pictures}", f"output={output}", *SMALL[:1], "format=png", "workers=1"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "shard_size=100"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: Shards cannot be written to") and "File too large" in last
    assert not list(output.glob("*.tar")) and not list(output.glob(".train*"))
    assert make(pictures, tmp_path / "file" / "x") == 0  # a missing parent is made


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["source=nowhere"], "does not exist"),
        (["qualty=9"], "did you mean quality"),
        (["format=gif"], "there are: jpg, png, webp"),
        (["quality=0"], "give 1 to 100"),
        (["shard_size=many"], "whole number"),
        (["split.val=1"], "give 0 to 0.9"),
        (["pair_with=nowhere"], "does not exist"),
        (["min_size=5000"], "None of the 16 images"),
    ],
)
def test_mistakes_are_one_sentence(pictures, tmp_path, words, told, capsys):
    assert make(pictures, tmp_path / "out", *words) == 2
    assert told in capsys.readouterr().err


def test_awkward_files_and_an_output_inside_the_source(tmp_path, draw):
    source = tmp_path / "source"
    (source / "a" / "b").mkdir(parents=True)
    for place, number in (("x", 0), ("a/x", 1), ("a/b/x", 2)):  # equal stems in nested folders
        (source / f"{place}.png").write_bytes(draw(number))
    picture = cv2.imdecode(np.frombuffer(draw(3), np.uint8), cv2.IMREAD_COLOR)
    cv2.imwrite(str(source / "sixteen.png"), picture.astype(np.uint16) * 257)
    Image.fromarray(picture[..., ::-1]).convert("CMYK").save(source / "cmyk.jpg", quality=98)
    (source / "link.png").symlink_to("x.png")
    (source / "gone.png").symlink_to("nothing.png")
    (source / "a" / "loop").symlink_to(source)
    words = ("format=png", "split.val=0", "resolution=48")
    for _ in range(2):  # the second call sees the output of the first
        assert make(source, source / "out", *words) == 0
    assert rows(source / "out") == {
        "a/loop": "a link to a folder, which is not followed",
        "gone.png": "cannot be read: No such file or directory",
    }
    shards = ShardSource("train-*.tar", source / "out", "none")
    found = {
        record.labels["source"]: (record.key, decode_image(record.image).astype(int))
        for record in map(shards.read, range(len(shards.keys)))
    }
    keys = {name: key for name, (key, _) in found.items()}
    assert keys == {
        "x.png": "x", "a/x.png": "a__x", "a/b/x.png": "a__b__x", "link.png": "link",
        "sixteen.png": "sixteen", "cmyk.jpg": "cmyk",
    }  # fmt: skip
    assert (found["link.png"][1] == found["x.png"][1]).all()
    assert (found["sixteen.png"][1] == picture[..., ::-1]).all()
    assert np.abs(found["cmyk.jpg"][1] - picture[..., ::-1]).mean() < 4


def test_missing_words_empty_folders_and_foreign_shards(tmp_path, pictures, capsys):
    (tmp_path / "empty").mkdir()
    assert make(tmp_path / "empty", tmp_path / "out") == 2
    assert "No image below" in capsys.readouterr().err
    for output in (pictures, pictures.parent):
        assert make(pictures, output) == 2
        assert "lies in output=" in capsys.readouterr().err
    assert make(pictures / "small.png", tmp_path / "out") == 2
    assert "is a file" in capsys.readouterr().err
    assert main(["source=x"]) == 2
    assert "output=... is missing" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert make(pictures, tmp_path / "file") == 2
    assert "cannot be written" in capsys.readouterr().err
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "train-000000.tar").write_text("")
    assert make(pictures, tmp_path / "foreign") == 2
    assert "unknown origin" in capsys.readouterr().err
    assert main(["--help"]) == 0
    assert "shard_size" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "expected"),
    [("00012.png", "00012"), ("anna_0003.jpg", "anna_0003"), ("a/b.png", "a__b")],
)
def test_plain_names_stay(name, expected):
    assert safe_key(name) == expected


def test_other_names_become_safe_distinct_and_keep_the_person():
    names = ["a.b.png", "a b.png", "a-b.png", "張.png", "王.png", "Zoë_1.png", "Zoe_1.png"]
    keys = [safe_key(name) for name in names]
    assert len(set(keys)) == len(names)
    assert all(key.replace("-", "").replace("_", "").isalnum() and key.isascii() for key in keys)
    one, two = safe_key("Zoë_0001.png"), safe_key("Zoë_0002.jpg")
    assert one.rpartition("_")[0] == two.rpartition("_")[0] and one.endswith("_0001")
    text = io.StringIO(json.dumps({"source": os.fsdecode(b"bad\xff.png")}))
    assert os.fsencode(json.load(text)["source"]) == b"bad\xff.png"
    assert safe_key(os.fsdecode(b"bad\xff.png")).startswith("bad-")
