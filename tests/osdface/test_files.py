"""Files are whole or absent, and readable by whom the umask allows."""

import os

import pytest
import torch
from safetensors.torch import save_file

from osdface.files import atomic_folder, atomic_path


@pytest.fixture(autouse=True)
def _usual_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_tensors_are_readable_by_others_as_the_umask_says(tmp_path) -> None:
    with atomic_path(tmp_path / "a.safetensors") as temporary:
        save_file({"x": torch.zeros(1)}, temporary)
    with atomic_folder(tmp_path / "export") as folder:
        save_file({"x": torch.zeros(1)}, folder / "b.safetensors")
    for file in (tmp_path / "a.safetensors", tmp_path / "export/b.safetensors"):
        assert file.stat().st_mode & 0o777 == 0o644
    os.umask(0o077)
    with atomic_path(tmp_path / "private.safetensors") as temporary:
        save_file({"x": torch.zeros(1)}, temporary)
    assert (tmp_path / "private.safetensors").stat().st_mode & 0o777 == 0o600


def test_after_an_error_the_old_file_is_there_and_nothing_else(tmp_path) -> None:
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "export") as folder:
        (folder / "half").touch()
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]
    assert target.read_text() == "old"


def test_a_folder_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch) -> None:
    """A power cut can keep a rename and lose what the files hold: an export of empty files."""
    target, flushed = tmp_path / "export", {True: set(), False: set()}
    monkeypatch.setattr(
        os, "fsync", lambda number: flushed[target.exists()].add(os.fstat(number).st_ino)
    )
    with atomic_folder(target) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "weights").write_text("1")
        (folder / "config.json").write_text("{}")
    inside = [target, *target.rglob("*")]
    assert len(inside) == 4 and {each.stat().st_ino for each in inside} <= flushed[False]
    assert tmp_path.stat().st_ino in flushed[True]
