"""A mistake is one sentence, exit status 2, and nothing is written."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.cli.lock import FolderLock
from experiments.restore import main
from experiments.restoring.options import HELP, Options, help_text, parse_options

ROOT = Path(__file__).resolve().parents[3]
GIVEN = ["input=in", "output=out", "checkpoint=tiny"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OSDFACE_WEIGHTS", raising=False)
    (tmp_path / "in").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "in/a.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "a file").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["inputs=in"], "no key 'inputs'; did you mean input"),
        (["input=in", "output=out"], "checkpoint= is missing"),
        (["output=out", "checkpoint=tiny"], "input= is missing"),
        (["in"], "is no key=value"),
        ([*GIVEN, "aligned=perhaps"], "true or false"),
        ([*GIVEN, "no_face=copi"], "did you mean copy?"),
        ([*GIVEN, "dtype=float23"], "did you mean float32"),
        ([*GIVEN, "upscale=0.5"], "from 1 to 8"),
        ([*GIVEN, "confidence=1"], "between 0 and 1"),
        ([*GIVEN, "batch_size=0"], "at least 1"),
        ([*GIVEN, "devices=0"], "at least 1"),
        ([*GIVEN, "aligned=true", "upscale=2"], "belongs to whole photos"),
        ([*GIVEN, "original_size=true"], "belongs to aligned=true"),
        (["input=gone", *GIVEN[1:]], "There is no input gone"),
        (["input=empty", *GIVEN[1:]], "names no picture"),
        (["input=in/*.jpg", *GIVEN[1:]], "names no picture"),
        (["input=in", "output=a file", "checkpoint=tiny"], "is a file"),
        (["input=in", "output=in", "checkpoint=tiny"], "never overwritten"),
        (["input=in/a.png", "output=in", "checkpoint=tiny"], "never overwritten"),
        (["input=in/*.png", "output=empty/../in", "checkpoint=tiny"], "never overwritten"),
        (["input=*/a.png", "output=in", "checkpoint=tiny"], "names no picture"),
        (GIVEN, "detection_Resnet50_Final.pth or detection_mobilenet0.25_Final.pth"),
        ([*GIVEN, "weights_dir=empty"], "not there below empty"),
        (["input=in", "output=out", "checkpoint=gone", "aligned=true"], "There is no gone"),
        (["input=in", "output=out", "checkpoint=empty", "aligned=true"], "no export folder"),
        ([*GIVEN, "aligned=true", "device=cupa"], "no device 'cupa'"),
        ([*GIVEN, "aligned=true", "device=cuda:99"], "no device cuda:99"),
        ([*GIVEN, "aligned=true", "device=cpu", "cuda_graphs=true"], "need a CUDA device"),
    ],
)
def test_one_sentence(words, expected, folder, capsys) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert expected in captured.err
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    assert not list(folder.rglob("out/*.png")) and len(list(folder.glob("in/*"))) == 1


def test_somebody_elses_file_is_not_replaced(folder, capsys) -> None:
    (folder / "out").mkdir()
    (folder / "out/a.png").write_text("precious")
    assert main([*GIVEN, "aligned=true"]) == 2
    assert "was made from another picture" in capsys.readouterr().err
    assert (folder / "out/a.png").read_text() == "precious"


def test_other_settings_are_refused_and_named(folder, capsys) -> None:
    assert main([*GIVEN, "aligned=true", "device=cpu"]) == 0
    assert main([*GIVEN, "aligned=true", "device=cpu", "dtype=bfloat16"]) == 2
    assert "other settings (dtype)" in capsys.readouterr().err
    assert main([*GIVEN, "aligned=true", "device=cpu", "batch_size=3"]) == 0


def test_another_process_in_the_same_folder(folder, capsys) -> None:
    (folder / "out/.restored").mkdir(parents=True)
    lock = FolderLock(folder / "out/.restored")
    assert lock.acquire()
    try:
        assert main([*GIVEN, "aligned=true"]) == 2
    finally:
        lock.release()
    assert "Another process" in capsys.readouterr().err


def test_the_last_of_a_repeated_key_counts() -> None:
    assert parse_options([*GIVEN, "upscale=2", "upscale=3"]).upscale == 3
    assert parse_options([*GIVEN, "weights_dir=a=b c"]).weights_dir == "a=b c"
    assert parse_options([*GIVEN, "device=null"]).device is None


def test_help_names_every_key_and_needs_no_torch() -> None:
    text = help_text()
    assert set(HELP) == set(Options.__dataclass_fields__)
    assert all(f"  {key} " in text for key in HELP)
    assert "[1]" in text and "[false]" in text
    code = (
        "import sys; from experiments.restore import main; main(['--help']); "
        "assert not {'torch', 'hydra'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == text, done.stderr
