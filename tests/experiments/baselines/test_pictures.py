"""Outputs are paired with inputs by stem; every difference is named."""

import numpy as np
import pytest
from PIL import Image

from experiments.baselines.pictures import collect, find_outputs, list_pictures, stage
from osdface.errors import UserError


def write(path, side=8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((side, side, 3), 7, np.uint8)).save(path)


@pytest.fixture
def inputs(tmp_path):
    for name in ("a.png", "b.jpg", "c.png", "d.png"):
        write(tmp_path / "in" / name)
    return list_pictures(tmp_path / "in", "input")


def test_each_kind_of_difference(inputs, tmp_path) -> None:
    out = tmp_path / "out"
    write(out / "a_00.png")
    write(out / "b_00.png", side=4)
    (out / "c_00.png").write_bytes((out / "a_00.png").read_bytes()[:50])
    write(out / "e_00.png")
    write(out / "a.png")
    (out / "log.txt").touch()
    found = find_outputs(out, inputs, "_00")
    assert list(found.good) == ["a"] and found.good["a"].name == "a_00.png"
    assert found.faults == {
        "missing": ["d"],
        "extra": ["a.png", "e_00.png"],
        "unreadable": ["c"],
        "size": ["b (4x4)"],
    }
    assert "missing: 1 image(s): d; extra: 2" in found.refused(())
    assert found.refused(("missing", "extra", "unreadable")) == "size: 1 image(s): b (4x4)"
    collect(found, tmp_path / "restored")
    assert [path.name for path in (tmp_path / "restored").iterdir()] == ["a.png"]


def test_outputs_anywhere_below(inputs, tmp_path) -> None:
    write(tmp_path / "out/deep/a.png")
    write(tmp_path / "out/deeper/still/b.png")
    assert list(find_outputs(tmp_path / "out/**", inputs).good) == ["a", "b"]
    write(tmp_path / "out/other/a.png")  # which of the two?
    assert find_outputs(tmp_path / "out/**", inputs).faults["extra"] == ["other/a.png"]
    assert find_outputs(tmp_path / "gone", inputs).faults == {"missing": ["a", "b", "c", "d"]}


def test_staged_pictures_are_links_and_nothing_else(inputs, tmp_path) -> None:
    (tmp_path / "in/notes.txt").touch()
    for _ in range(2):
        staged = stage(dict(list(inputs.items())[:1]), tmp_path / "staged")
    assert [path.name for path in staged.iterdir()] == ["a.png"]
    assert (staged / "a.png").read_bytes() == (tmp_path / "in/a.png").read_bytes()


def test_a_folder_without_pictures_or_with_two_of_a_stem(inputs, tmp_path) -> None:
    write(tmp_path / "in/a.jpg")
    with pytest.raises(UserError, match="two pictures a"):
        list_pictures(tmp_path / "in", "input")
    (tmp_path / "empty").mkdir()
    for name, sentence in (("empty", "holds no picture"), ("gone", "is no folder")):
        with pytest.raises(UserError, match=sentence):
            list_pictures(tmp_path / name, "input")
