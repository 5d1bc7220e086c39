"""``python -m experiments.complexity`` as a user runs it."""

import csv
import json

import pytest

from experiments.complexity import main


def test_the_bare_command_counts_and_times_the_tiny_scale(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([]) == 0
    folder = tmp_path / "outputs/complexity/tiny"
    assert capsys.readouterr().out.strip().endswith(str(folder))
    found = json.loads((folder / "complexity.json").read_text())
    parts = found["parts"].values()
    assert found["params_total"] == sum(part["params"] for part in parts) > 5_000_000
    assert found["macs_total"] == sum(part["macs"] for part in parts)
    assert found["macs_total"] > found["macs_without_attention"] > 0
    assert found["time"]["seconds_per_image"] > 0 and found["time"]["batch"] == 1
    assert found["time"]["peak_memory_bytes"] > 4 * found["params_total"]
    with open(folder / "complexity.csv", newline="") as file:
        rows = {row["part"]: row for row in csv.DictReader(file)}
    assert int(rows["total"]["macs"]) == found["macs_total"]
    assert int(rows["lora_unmerged"]["params"]) == found["lora"]["params"]
    text = (folder / "complexity.md").read_text()
    assert "| OSDFace |     1 |    0.10 |         978.4 |   2132 |" in text


def test_full_size_is_counted_without_memory_or_time(tmp_path, capsys) -> None:
    assert main(["scale=sd21", "device=cpu", f"output_dir={tmp_path}"]) == 0
    found = json.loads((tmp_path / "complexity.json").read_text())
    assert found["params_total"] == pytest.approx(979.13e6, rel=1e-3)
    assert found["macs_total"] == pytest.approx(2317.3e9, rel=1e-3)
    assert found["time"] is None
    text = (tmp_path / "complexity.md").read_text()
    # What the page says of the count by itself is what was counted.
    assert f"{found['params_total'] / 1e6:.1f} M" in text and "979.1 M" in text
    assert f"{found['macs_total'] / 1e9:.0f} G, " in text
    assert f"{found['macs_without_attention'] / 1e9:.0f} G of them" in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["scale=huge"], "huge"),
        (["scal=tiny"], "scale"),
        (["batch=0"], "batch=0 is wrong"),
        (["batch=many"], "whole number"),
        (["repeats=0"], "repeats=0"),
        (["device=gpu"], "no device gpu"),
        (["device=cuda:99"], "no device cuda:99"),
        (["time=maybe"], "maybe"),
        (["dtype=int8"], "int8"),
    ],
)
def test_mistakes_are_one_sentence(words, told, tmp_path, capsys) -> None:
    assert main([*words, f"output_dir={tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and told in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_way_is_told(tmp_path, capsys) -> None:
    (tmp_path / "out").write_text("mine")
    assert main(["time=false", f"output_dir={tmp_path / 'out'}"]) == 2
    assert "is a file" in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == "mine"
