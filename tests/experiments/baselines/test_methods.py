"""The methods' files are whole and true to the paper's tables; mistakes in one are one sentence."""

import sys
from pathlib import Path

import pytest
import yaml

from experiments.baselines.method_files import (
    FOLDER,
    OURS,
    known_methods,
    read_method,
    shipped_methods,
)
from experiments.baselines.methods import changed
from experiments.baselines.paper import published
from experiments.restoring.options import parse_options
from osdface.errors import UserError

GIVEN = {
    "name": "Mine", "repository": "https://example.org", "licence": "MIT",
    "command": "{python} run.py {input} {output}", "outputs": ".",
}  # fmt: skip


def test_the_ten_methods_of_the_tables_and_ours() -> None:
    methods = shipped_methods()
    assert len(methods) == 11 and list(methods)[-1] == OURS
    rows = {row.method: row for row in published("1")}
    assert [m.name for m in methods.values()][:-1] == list(rows)
    assert [row.method for row in published("2")] == list(rows)
    for method in list(methods.values())[:-1]:
        assert method.steps == rows[method.name].steps
        assert method.repository.startswith("https://github.com/") and method.licence
    assert {row.method for row in published("complexity")} < rows.keys()


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_key_of_a_file_is_explained(file) -> None:
    lines = [line for line in file.read_text("utf-8").splitlines() if not line.startswith("#")]
    assert lines and all("  # " in line for line in lines)
    assert set(yaml.safe_load(file.read_text("utf-8"))) == {
        *("name", "repository", "licence", "steps", "checkout", "python", "command", "outputs"),
        *("suffix", "paths"),
    }


def test_a_command_is_filled_in_word_by_word(tmp_path) -> None:
    checkout = tmp_path / "check out"
    (checkout / "weights/CodeFormer").mkdir(parents=True)
    method = shipped_methods()["codeformer"]
    assert "clone https://github.com/sczhou/CodeFormer" in method.lacking()
    method = changed(method, {"checkout": str(checkout)})
    assert f"no interpreter {checkout}/.venv/bin/python" in method.lacking()
    (checkout / "python").touch()
    method = changed(method, {"python": str(checkout / "python")})
    assert "paths.weights=weights/CodeFormer/codeformer.pth is not there" in method.lacking()
    (checkout / "weights/CodeFormer/codeformer.pth").touch()
    assert method.lacking() == ""
    line = method.command_line(tmp_path / "in put", tmp_path / "{out}")
    assert line == [
        str(checkout / "python"), "inference_codeformer.py", "-w", "0.5", "--has_aligned",
        "--input_path", str(tmp_path / "in put"), "-o", str(tmp_path / "{out}"),
    ]  # fmt: skip


def test_a_path_starts_from_the_checkout_in_a_file_and_from_here_in_a_word(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.ckpt").touch()
    method = changed(
        shipped_methods()["daefr"],
        {"checkout": str(tmp_path / "c"), "paths.weights": "model.ckpt", "python": "/bin/sh"},
    )
    (tmp_path / "c").mkdir()
    assert method.lacking() == ""
    assert str(tmp_path / "model.ckpt") in method.command_line(tmp_path, tmp_path)
    words = {"checkout": "c", "python": "/bin/sh"}
    needed = changed(shipped_methods()["osdface"], words)
    assert needed.lacking() == "baseline.osdface.paths.sd21= is not given"
    needed = changed(needed, {"paths.sd21": "c"})
    assert "paths.encoder=pretrained/associate_2.ckpt is not there" in needed.lacking()


def test_ours_is_run_by_this_interpreter() -> None:
    method = shipped_methods()[OURS]
    assert method.lacking() == "baseline.osdface_ours.paths.checkpoint= is not given"
    method = changed(method, {"paths.checkpoint": "tiny"})
    assert method.lacking() == ""
    command = method.command_line(Path("in put"), Path("out"))
    assert command[:3] == [sys.executable, "-m", "experiments.restore"]
    options = parse_options(command[3:])
    assert (options.input, options.output, options.checkpoint) == ("in put", "out", "tiny")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": None}, "lacks name"),
        ({"commnd": "x"}, "did you mean command"),
        ({"command": "{python} x {input} {output} {wieghts}", "paths": {"weights": "w"}},
         "did you mean weights"),
        ({"command": "{python} x {input}"}, "does not name {output}"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_sentence(change, sentence, tmp_path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(GIVEN))
    assert read_method(file).key == "mine"
    assert "mine" in known_methods(str(tmp_path))
    file.write_text(yaml.safe_dump(GIVEN | change))
    with pytest.raises(UserError) as error:
        read_method(file)
    assert sentence in str(error.value)


def test_no_yaml_and_no_file(tmp_path) -> None:
    with pytest.raises(UserError, match=r"holds no \.yaml"):
        known_methods(str(tmp_path))
    (tmp_path / "x.yaml").write_text("a: [")
    with pytest.raises(UserError, match="is no YAML file"):
        known_methods(str(tmp_path))
