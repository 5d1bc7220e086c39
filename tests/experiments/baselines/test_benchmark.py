"""The benchmark with real processes: methods that work, crash, hang, write half or wrong sizes."""

import csv
import json
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.baselines import running
from experiments.baselines.process import run_process
from experiments.benchmark import main

PSNR = 20 * math.log10(255 / 10)  # hq is lq plus ten levels


def rows(folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    with open(folder / "table_1.csv", newline="") as file:
        return {(row["method"], row["source"]): row for row in csv.DictReader(file)}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_every_fate_of_a_method_is_a_row(checkouts, environment, capsys) -> None:
    modes = ("copies", "crashes", "hangs", "half", "size", "broken")
    words = checkouts.words(*modes, "vqfr", timeout=2)
    assert main([*words, "timing=false"]) == 0
    out = checkouts.root / "out"
    record = json.loads((out / "benchmark.json").read_text())
    runs = {key: entry["run"] for key, entry in record["entries"].items()}
    assert {key: run["state"] for key, run in runs.items()} == {
        "copies": "done",
        "crashes": "crashed",
        "hangs": "timed out",
        "half": "incomplete",
        "size": "incomplete",
        "broken": "incomplete",
        "vqfr": "absent",
    }
    assert runs["copies"]["values"]["psnr"] == pytest.approx(PSNR, abs=1e-5)
    assert runs["crashes"]["reason"] == (
        "exit status 1: RuntimeError: CUDA out of memory (wrote 1 of 5)"
    )
    assert "by timeout= (wrote 0 of 5)" in runs["hangs"]["reason"]
    assert runs["half"]["reason"] == "missing: 2 image(s): b, d"
    assert runs["size"]["reason"] == "size: 1 image(s): b (3x3)"
    assert runs["broken"]["reason"] == "unreadable: 1 image(s): b"
    assert "clone https://github.com/TencentARC/VQFR" in runs["vqfr"]["reason"]
    # It ran in its own environment and checkout, and nothing of it is left.
    prefix, folder = (checkouts.folder("copies") / "state/prefix.txt").read_text().splitlines()
    assert prefix == str(environment.parent.parent)
    assert folder == str(checkouts.folder("copies"))
    assert not any(alive(int(pid)) for pid in checkouts.state("hangs", "pids.txt"))
    # Whoever did not finish has no figures, and the others have them all the same.
    table = rows(out)
    assert table["The copies one", "measured"]["status"] == "5 images"
    assert table["The half one", "measured"]["psnr"] == ""
    assert table["VQFR", "published"]["lpips"] == "0.339"
    assert table["VQFR", "measured"]["status"] == "absent"
    assert sorted(p.name for p in (out / "copies/restored").iterdir())[0] == "a.png"
    for suffix in ("md", "tex"):
        text = (out / f"table_1.{suffix}").read_text()
        assert "CUDA out of memory" in text and "The copies one" in text
    printed = capsys.readouterr().out
    assert "half               incomplete 3/5 images missing: 2 image(s): b, d" in printed
    # The same command again runs only what was not done.
    assert main([*words, "timing=false"]) == 0
    assert len(checkouts.state("copies", "calls.txt")) == 1
    assert len(checkouts.state("half", "calls.txt")) == 2
    assert "copies: done before" in capsys.readouterr().out


def test_new_weights_or_inputs_are_run_anew(checkouts) -> None:
    weights = checkouts.folder("copies") / "state/model.pth"
    for content, calls in (("old", 1), ("old", 1), ("newer", 2)):
        if not weights.exists() or weights.read_text() != content:
            weights.write_text(content)
        assert main(checkouts.words("copies")) == 0
        assert len(checkouts.state("copies", "calls.txt")) == calls
    shutil.copy(checkouts.root / "hq/a.png", checkouts.root / "lq/b.png")
    assert main(checkouts.words("copies")) == 0
    assert len(checkouts.state("copies", "calls.txt")) == 3


def test_methods_one_after_the_other_share_a_table(checkouts, capsys) -> None:
    assert main(checkouts.words("copies")) == 0
    assert main(checkouts.words("half", allow="missing")) == 0
    table = rows(checkouts.root / "out")
    assert table["The copies one", "measured"]["status"] == "5 images"
    assert table["The half one", "measured"]["status"] == "3 of 5 images"
    # Without the words about it a method is absent, and keeps the figures that it had.
    words = [word for word in checkouts.words("copies") if not word.startswith("baseline.")]
    assert main(words) == 0
    table = rows(checkouts.root / "out")
    assert table["The copies one", "measured"]["status"] == "5 images"
    # Other pictures: what was measured before has no place in the table.
    (checkouts.root / "lq/e.png").unlink()
    assert main(checkouts.words("half", allow="missing")) == 0
    assert "other pictures or scores (copies, half): begun anew" in capsys.readouterr().out
    assert ("The copies one", "measured") not in rows(checkouts.root / "out")


def test_differences_that_are_allowed_are_left_out(checkouts) -> None:
    assert main(checkouts.words("half", "size", allow="missing,size")) == 0
    table = rows(checkouts.root / "out")
    assert table["The half one", "measured"]["status"] == "3 of 5 images"
    assert table["The size one", "measured"]["status"] == "4 of 5 images"
    assert float(table["The size one", "measured"]["psnr"]) == pytest.approx(PSNR, abs=1e-5)


@pytest.mark.parametrize(
    ("one", "whole", "expected"),
    [(0.6, 1.0, (0.1, 0.5)), (0.6, 4.6, (1.0, 0.0)), (0.6, 0.5, (None, None))],
)
def test_loading_is_told_from_restoring(one, whole, expected, checkouts, monkeypatch) -> None:
    """Real processes whose clock is set: a busy machine must not decide this test."""

    def clocked(*args, **named):
        done = run_process(*args, **named)
        calls = checkouts.state("copies", "calls.txt")
        return replace(done, seconds=whole if calls[-1] == "5" else one * len(calls) / 2)

    monkeypatch.setattr(running, "run_process", clocked)
    assert main([*checkouts.words("copies"), "timing=true"]) == 0
    # The first of the two on one picture, which warms caches up, counts for nothing.
    assert checkouts.state("copies", "calls.txt") == ["1", "1", "5"]
    row = rows(checkouts.root / "out")["The copies one", "measured"]
    keys = ("seconds_per_image", "loading_seconds")
    found = [float(row[key]) if row.get(key) else None for key in keys]
    assert found == [value if value is None else pytest.approx(value) for value in expected]
    assert ("T(one)" in (checkouts.root / "out/table_1.md").read_text()) == (whole > one)


def test_a_method_that_fails_on_one_picture_is_not_tried_on_all(checkouts) -> None:
    script = checkouts.folder("copies") / "restore.py"
    script.write_text("import sys; sys.exit('no model')")
    assert main([*checkouts.words("copies"), "timing=true"]) == 0
    log = (checkouts.root / "out/copies/log.txt").read_text()
    assert log.count("$ ") == 1
    record = json.loads((checkouts.root / "out/benchmark.json").read_text())
    assert "no model (wrote 0 of 5)" in record["entries"]["copies"]["run"]["reason"]


def test_images_that_are_there_are_scored_and_stay_as_they_are(checkouts, pictures) -> None:
    given = pictures / "given"
    shutil.copytree(pictures / "lq", given / "copies")  # without suffix
    shutil.copytree(pictures / "hq", given / "half")
    for file in (given / "half").iterdir():  # with it
        file.rename(file.with_name(f"{file.stem}_00.png"))
    before = sorted(path for path in given.rglob("*"))
    assert main(checkouts.words("copies", "half", "size", outputs=given)) == 0
    table = rows(checkouts.root / "out")
    assert float(table["The copies one", "measured"]["psnr"]) == pytest.approx(PSNR, abs=1e-5)
    assert float(table["The half one", "measured"]["psnr"]) == 100
    assert table["The half one", "measured"]["best"] == "psnr ssim"
    assert "there is no" in table["The size one", "measured"]["note"]
    assert sorted(path for path in given.rglob("*")) == before
    assert not (checkouts.folder("copies") / "state/calls.txt").exists()


def test_the_real_world_suite_keeps_its_sets_apart(checkouts) -> None:
    words = [w for w in checkouts.words("copies") if not w.startswith("reference=")]
    words = [*words, "suite=real_world", "metrics=fid", "features=tiny"]
    words.append(f"fid_reference={checkouts.root / 'hq'}")
    for name in ("wider", "lfw"):
        assert main([*words, f"set={name}", f"output_dir={checkouts.root / 'sets' / name}"]) == 0
    assert main(["table=2", f"runs={checkouts.root / 'sets'}"]) == 0
    text = (checkouts.root / "sets/table_2.md").read_text()
    assert "wider: 5 images; lfw: 5 images" in text or "lfw: 5 images; wider: 5 images" in text
    assert "Wider-Test CLIP-IQA" in text and "the paper's set has 970" in text


@pytest.mark.slow
def test_our_own_model_is_a_row(checkouts) -> None:
    words = checkouts.words("osdface_ours", checkpoint="tiny")
    assert main(words) == 0
    record = json.loads((checkouts.root / "out/benchmark.json").read_text())
    run = record["entries"]["osdface_ours"]["run"]
    assert run["state"] == "done", run["reason"]
    assert run["images"] == 5 and 5 < run["values"]["psnr"] < 60


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["methods=[codefromer]"], "did you mean codeformer"),
        (["methods=[]"], "methods= names none"),
        (["baseline.copies.chekout=x"], "did you mean baseline.copies.checkout"),
        (["allow=mising"], "did you mean missing"),
        (["timeout=-1"], "timeout=-1 is wrong"),
        (["suite=real_world"], "needs set=, one of wider, lfw, webphoto"),
        (["set=lfw"], "set= belongs to suite=real_world"),
        (["reference=null"], "needs reference=DIR"),
        (["input=gone"], "input=gone is no folder"),
        (["output_dir=lq"], "is the folder of input="),
        (["table=3", "runs=."], "There is no table '3'"),
        (["table=1"], "needs runs=DIR"),
        (["runs=."], "runs= belongs to table="),
        (["table=1", "runs=lq"], "no benchmark.json of suite=celeba_test"),
        (["table=ablation_losses", "runs=lq"], "holds no variants"),
        (["metrics=lpips", "weights_dir=lq"], "download=vgg16-397923af.pth weights_dir=lq"),
        (["device=cupa"], "There is no device 'cupa'"),
        (["reference=one"], "reference= lacks b, c, d, e"),
    ],
)
def test_a_mistake_is_one_sentence_and_runs_nothing(
    words, sentence, checkouts, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(checkouts.root)
    (checkouts.root / "one").mkdir()
    shutil.copy(checkouts.root / "hq/a.png", checkouts.root / "one/a.png")
    given = [w for w in checkouts.words("copies") if not words[0].startswith("table")]
    assert main([*given, *words]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err and captured.err.count("\n") == 1
    assert not (checkouts.folder("copies") / "state/calls.txt").exists()


def test_somebody_elses_folder_is_left_alone(checkouts, capsys) -> None:
    own = checkouts.root / "out/copies"
    own.mkdir(parents=True)
    (own / "thesis.tex").touch()
    assert main(checkouts.words("copies")) == 2
    assert "did not make" in capsys.readouterr().err
    assert [path.name for path in own.iterdir()] == ["thesis.tex"]
    assert os.listdir(checkouts.root / "lq") and main([]) == 2
