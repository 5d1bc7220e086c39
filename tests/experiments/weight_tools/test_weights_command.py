"""The weights command: the table, JSON, downloads from a mirror, and mistakes in one sentence."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.weights import main
from osdface.weights import registry
from osdface.weights.registry import Weight
from tests.osdface.weights.weight_server import serving

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    monkeypatch.delenv("OSDFACE_WEIGHTS", raising=False)


def test_the_table_names_every_file_and_reads_at_100_columns(tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/RN50.pt").write_bytes(b"x")
    monkeypatch.setenv("OSDFACE_WEIGHTS", str(tmp_path))
    assert main([]) == 0
    out = capsys.readouterr().out
    for weight in registry():
        assert weight.name in out and (weight.address in out)
    long = [line for line in out.splitlines() if len(line) > 100]
    assert all("https://" in line or str(tmp_path) in line for line in long)
    assert f"1 present, {len(registry()) - 1} missing below {tmp_path}" in out
    assert main(["verify=true"]) == 0
    assert "WRONG     it has 1 bytes where 255,827,503" in capsys.readouterr().out


def test_json_is_the_registry_and_what_was_found(tmp_path, capsys) -> None:
    (tmp_path / "RN50.pt").touch()
    assert main(["format=json", f"weights_dir={tmp_path}"]) == 0
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert found.keys() == {weight.name for weight in registry()}
    assert found["RN50.pt"]["status"] == "present"
    assert found["RN50.pt"]["path"] == str(tmp_path / "RN50.pt")
    assert found["vgg16-397923af.pth"]["size"] == 553433881


def test_a_download_by_its_own_process_is_checked_and_not_repeated(
    tmp_path, monkeypatch, capsys
) -> None:
    data = b"weights" * 1000
    known = Weight(
        "a.pth", "a test", "MIT", "https://nowhere.invalid/a.pth", "nets", len(data),
        hashlib.sha256(data).hexdigest(),
    )  # fmt: skip
    unknown = Weight("b.pth", "a test", "MIT", "https://nowhere.invalid/b.pth")
    monkeypatch.setattr("experiments.weight_tools.fetching.registry", lambda: (known, unknown))
    with serving() as server:
        server.files = {"a.pth": data, "b.pth": b"b"}
        words = ["download=all", f"mirror={server.url}", f"weights_dir={tmp_path}"]
        assert main(words) == 0
        out = capsys.readouterr().out
        assert "a.pth: fetched and checked" in out
        assert f"b.pth: fetched and no checksum is known, {hashlib.sha256(b'b').hexdigest()}" in out
        asked = len(server.asked)
        assert main(words) == 0 and len(server.asked) == asked
        assert capsys.readouterr().out.count("there already") == 2
        (tmp_path / "nets/a.pth").write_bytes(b"broken")
        assert main(["download=a.pth", *words[1:]]) == 0
        assert "is another file" in capsys.readouterr().out
    assert (tmp_path / "nets/a.pth").read_bytes() == data


def test_one_failure_does_not_keep_the_others_from_coming(tmp_path, monkeypatch, capsys) -> None:
    weights = [Weight(f"{n}.pth", "a test", "MIT", f"https://x.invalid/{n}.pth") for n in "abc"]
    monkeypatch.setattr("experiments.weight_tools.fetching.registry", lambda: tuple(weights))
    with serving() as server:
        server.files = {"a.pth": b"a", "c.pth": b"c"}
        assert main(["download=all", f"mirror={server.url}", f"weights_dir={tmp_path}"]) == 2
    captured = capsys.readouterr()
    assert "1 of 3 could not be fetched" in captured.err and "404" in captured.err
    assert (tmp_path / "c.pth").read_bytes() == b"c"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["download=all"], "Where to? Give weights_dir=DIR"),
        (["download=vgg16", "weights_dir=w"], "no weight 'vgg16'; did you mean vgg16-397923af.pth"),
        (["download=stable-diffusion-2-1-base", "weights_dir=w"], "by a command: see https://"),
        (["weights_dir=a file"], "is a file"),
        (["format=xml"], "no value of format 'xml'"),
        (["downlaod=all"], "did you mean download"),
    ],
)
def test_one_sentence(words, sentence, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a file").touch()
    assert main(words) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err and captured.err.count("\n") == 1
    assert not (tmp_path / "w").exists()


def test_help_and_table_need_no_torch() -> None:
    code = (
        "import sys; from experiments.weights import main; main(['--help']); main([]); "
        "assert not {'torch', 'hydra', 'requests'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "mirror" in done.stdout, done.stderr
