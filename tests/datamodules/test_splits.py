"""Hold-out: nobody on both sides, whatever the order of the files."""

import pytest

from datamodules.folders import FolderSource, find_images
from datamodules.splits import held_out, identity_labels, identity_name
from osdface.errors import UserError

KEYS = [f"person{n % 12:02d}_{n // 12:04d}" for n in range(40)]


def people(keys, indices):
    return {keys[index].split("_")[0] for index in indices}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nobody_is_in_both(seed):
    training, validation = held_out(KEYS, seed, count=8)
    assert sorted(training + validation) == list(range(40))
    assert not people(KEYS, training) & people(KEYS, validation)
    assert 5 <= len(validation) <= 8


def test_split_does_not_depend_on_the_order_of_files_and_follows_the_seed():
    turned = KEYS[::-1]
    first = {KEYS[index] for index in held_out(KEYS, 0, count=8)[1]}
    assert {turned[index] for index in held_out(turned, 0, count=8)[1]} == first
    others = [{KEYS[i] for i in held_out(KEYS, seed, count=8)[1]} for seed in (1, 2, 3)]
    assert any(other != first for other in others)


def test_by_image_the_count_is_exact():
    assert len(held_out(KEYS, 0, count=7, identity_from="none")[1]) == 7
    assert len(held_out(KEYS, 0, fraction=0.25, identity_from=None)[1]) == 10
    assert held_out(KEYS, 0, count=0)[1] == []


def test_big_families_still_leave_someone_for_validation():
    keys = [f"{name}_{n}" for name in ("anna", "ben") for n in range(10)]
    training, validation = held_out(keys, 0, count=2)
    assert len(training) == len(validation) == 10


def test_names():
    assert identity_name("Anna_Maria_0003") == "Anna_Maria"
    assert identity_name("00012") is None and identity_name("Anna") is None
    assert identity_name("Anna_0003", "none") is None
    assert identity_labels(["b_1", "x", "a_1", "b_2"], "stem_prefix") == [1, -1, 0, 1]
    with pytest.raises(UserError, match="identity_from"):
        identity_name("a_1", "folder")


@pytest.mark.parametrize(
    "arguments", [{"count": 40}, {"count": -1}, {"fraction": 1.0}, {"fraction": -0.1}]
)
def test_impossible_counts_are_told(arguments):
    with pytest.raises(UserError, match="val_"):
        held_out(KEYS, 0, **arguments)


def test_one_person_alone_cannot_be_split():
    with pytest.raises(UserError, match="one person"):
        held_out(["a_1", "a_2", "a_3"], 0, count=1)


def test_folder_keys_are_unique_and_safe(tmp_path, encoded):
    for name in ("a/b_1.png", "a/b_2.JPG", "c d.v2.webp", "x.png", "x.jpg", ".hidden.png", "n.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encoded(1))
    source = FolderSource(tmp_path)
    assert source.keys == ["a__b_1", "a__b_2", "c d.v2", "x-jpg", "x-png"]
    assert source.identities == [0, 0, -1, -1, -1]
    assert source.read(1).image == encoded(1)
    before = source.fingerprint()
    (tmp_path / "x.png").write_bytes(b"another length")
    assert FolderSource(tmp_path).fingerprint() != before


def test_missing_and_empty_folders_are_told(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        find_images(tmp_path / "nowhere")
    (tmp_path / "note.txt").write_text("x")
    with pytest.raises(UserError, match="No image below"):
        find_images(tmp_path)
