"""``python -m experiments.compare`` on run folders with known content."""

import csv
import math
import statistics
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.compare import main
from experiments.comparing.collecting import find_runs
from experiments.comparing.curves import band
from experiments.comparing.differences import groups

RANK = "scale.stage2.lora_rank"


def table(path: str) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_seeds_are_grouped_and_what_differs_is_the_label(runs, capsys) -> None:
    values = {4: [22.0, 23.0, 25.0], 16: [26.0, 26.5, 27.0]}
    for rank, psnrs in values.items():
        for seed, psnr in enumerate(psnrs):
            runs.run(f"a/r{rank}-{seed}", {RANK: rank, "seed": seed}, psnr=psnr)
    runs.run("b/other", {"logger.group": "another"})
    assert main(["group=mine"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == str(Path("outputs/compare/mine").absolute())
    rows = {row["variant"]: row for row in table("outputs/compare/mine/compare.csv")}
    assert list(rows) == ["degraded", "lora_rank=16", "lora_rank=4"]
    for rank, psnrs in values.items():
        row = rows[f"lora_rank={rank}"]
        assert float(row["psnr"]) == pytest.approx(statistics.fmean(psnrs))
        assert float(row["psnr_std"]) == pytest.approx(statistics.stdev(psnrs), abs=1e-6)
        assert row["seeds"] == "3"
    text = Path("outputs/compare/mine/compare.md").read_text()
    assert "6 runs in 2 groups." in text and "**26.50 ± 0.50**" in text
    gains = next(
        line for line in text.splitlines() if line.startswith("| lora_rank=4 ") and "+" in line
    )
    assert "+3.33 ± 1.53" in gains
    assert f"| {RANK} |" in text
    everything = table("outputs/compare/mine/runs.csv")
    assert len(everything) == 6 and {row[RANK] for row in everything} == {"4", "16"}
    for name in ("figures", "curves", "faces"):
        assert Path(f"outputs/compare/mine/{name}.png").stat().st_size > 2000


def test_the_same_faces_of_every_group_stand_side_by_side(runs) -> None:
    for rank in (4, 16, 64):
        runs.run(f"r{rank}", {RANK: rank})
    assert main(["group=mine", "output_dir=o", "faces=1"]) == 0
    pixels = np.asarray(Image.open("o/faces.png"))
    seen = {tuple(colour) for colour in pixels.reshape(-1, 3)[::7]}
    assert {(90, 90, 90), (10, 200, 10), (200, 10, 10)} <= seen
    # LQ, three groups, HQ: as many columns of faces in one row.
    row = pixels[pixels.shape[0] // 2]
    inside = [tuple(p) in {(90, 90, 90), (10, 200, 10), (200, 10, 10)} for p in row]
    starts = sum(now and not before for before, now in zip([False, *inside], inside, strict=False))
    assert starts == 5


def test_runs_that_are_not_comparable_are_said_to_be(runs, capsys) -> None:
    runs.run("a")
    other = {"psnr": "PSNR", "perceptual": "lpips on vgg"}
    runs.run("b", {"data.degradation.preset": "difface"}, lq=(1, 2, 3), specification=other,
             rows={"psnr": 18.0})  # fmt: skip
    assert main(["runs=outputs/a,outputs/b", "output_dir=o"]) == 0
    out = capsys.readouterr().out
    assert "`perceptual` is not measured alike" in out and "lpips on vgg: preset=difface" in out
    assert "degraded input's PSNR (20.00 dB: preset=waveface; 18.00 dB: preset=difface)" in out
    assert "The inputs are degraded differently" in out
    rows = [row["variant"] for row in table("o/compare.csv")]
    assert "degraded" not in rows
    assert "`psnr`" not in out


def test_other_faces_are_not_shown_side_by_side(runs, capsys) -> None:
    runs.run("a")
    runs.run("b", {RANK: 4, "data.kind": "folder"}, hq=(9, 9, 9))
    assert main(["runs=outputs/*", "output_dir=o"]) == 0
    out = capsys.readouterr().out
    assert "The held-out pictures differ" in out
    assert "There is no picture grid: the runs hold out different pictures." in out
    assert not Path("o/faces.png").exists()


def test_unfinished_runs_are_listed_with_how_far_they_came(runs) -> None:
    runs.run("a", {RANK: 4})
    runs.run("b", {RANK: 16}, status="running", reason="interrupted", psnr=24.5)
    runs.run("c", {RANK: 16, "seed": 1}, status="failed", reason="ValueError: nan")
    assert main(["group=mine", "output_dir=o"]) == 0
    text = Path("o/compare.md").read_text()
    assert "`lora_rank=16` seed 0 (running): interrupted, at step 300" in text
    assert "its last validation: PSNR, dB 24.50" in text
    assert "`lora_rank=16` seed 1 (failed): ValueError: nan" in text
    row = next(row for row in table("o/compare.csv") if row["variant"] == "lora_rank=16")
    assert row["psnr"] == "" and row["seeds"] == "0"


def test_variants_are_called_by_their_names(runs) -> None:
    runs.run("full", {"logger.group": "ablation_losses", "experiment": "ablation_losses"})
    runs.run("mse", {"variant": "mse", "losses.gan": 0.0, "logger.group": "ablation_losses"})
    found, keys = groups(find_runs("ablation_losses", "outputs", None))
    assert [group.label for group in found] == ["full", "mse"]
    assert keys == ["variant", "losses.gan"]


def test_a_number_and_what_refers_to_it_are_one_difference(runs) -> None:
    for gan in (0.1, 0.5):
        runs.run(f"g{gan}", {"losses.weights.gan": gan, "scale.lambdas.gan": gan})
    found, keys = groups(find_runs(None, "outputs", "outputs"))
    assert keys == ["losses.weights.gan"]
    assert [group.label for group in found] == ["gan=0.1", "gan=0.5"]


def test_many_differences_are_labelled_by_folder(runs) -> None:
    names = [f"scale.stage2.{name}" for name in ("a", "b", "c", "d", "e")]
    runs.run("first", dict.fromkeys(names, 1))
    runs.run("second", dict.fromkeys(names, 2) | {names[0]: 3} | {names[1]: 4, names[2]: 5})
    runs.run("third", {names[0]: 1, names[1]: 2, names[2]: 3, names[3]: 4, names[4]: 5})
    found, keys = groups(find_runs(None, "outputs", "outputs"))
    assert [group.label for group in found] == ["first", "second", "third"] and len(keys) == 5


def test_a_repeated_run_counts_once(runs, capsys) -> None:
    first = runs.run("a", psnr=21.0)
    runs.run("b", psnr=22.0)
    runs.run("c", status="running")
    import os

    os.utime(first / "status.json", (1, 1))
    assert main(["group=mine", "output_dir=o"]) == 0
    out = capsys.readouterr().out
    assert out.count("is left out") == 2 and f"{first} is left out" in out
    assert [row["psnr"] for row in table("o/compare.csv")][-1] == "22.0"


def test_a_band_spans_the_seeds_at_shared_steps() -> None:
    curves = [([1, 2, 3], [1.0, 2.0, 9.0]), ([1, 2], [3.0, 6.0])]
    steps, means, lows, highs = band(curves)
    assert (steps, means, lows, highs) == ([1, 2], [2.0, 4.0], [1.0, 2.0], [3.0, 6.0])


def test_figures_that_are_not_finite_do_no_harm(runs) -> None:
    runs.run("a", {RANK: 4}, psnr=math.nan)
    runs.run("b", {RANK: 16})
    assert main(["group=mine", "output_dir=o"]) == 0
    assert "nan" in Path("o/compare.md").read_text()


def test_an_ablation_and_its_seeds_are_found_below_their_folder(runs) -> None:
    for variant in ("mse", "full"):
        for seed in (0, 1):
            changes = {"variant": variant, "seed": seed, "logger.group": "ablation_losses"}
            folder = runs.run(f"abl/{variant}/seed-{seed}", changes)
            (folder / "references").rename(folder / "nothing")
    top = runs.run("spare")
    (top / "references").rename(runs.root / "outputs/abl/references")
    (runs.root / "outputs/abl/config.yaml").write_text("task: ablation\n")
    found, _ = groups(find_runs(None, "outputs", "outputs/abl"))
    assert [(group.label, len(group.runs)) for group in found] == [("full", 2), ("mse", 2)]
    assert found[0].runs[0].rows["degraded"]["psnr"] == 20.0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["group=mien"], "There is no group 'mien'; did you mean mine?"),
        (["faces=3"], "Give group=NAME, or runs=DIR,DIR."),
        (["group=mine", "runs=outputs/a"], "Give group=NAME, or runs=DIR,DIR."),
        (["runs=outputs/aa"], "outputs holds a"),
        (["runs=outputs/z*"], "no folder fits this pattern"),
        (["runs=outputs/a/samples"], "no run stands there"),
        (["group=mine", "root=nowhere"], "there is no"),
        (["group=mine", "output_dir=outputs/a"], "is a run's own folder"),
        (["group=mine", "faces=0"], "faces must be at least 1"),
    ],
)
def test_a_mistake_is_a_sentence(runs, words, sentence, capsys) -> None:
    runs.run("a")
    assert main(words) == 2
    err = capsys.readouterr().err
    assert sentence in err and len(err.splitlines()) == 1


def test_no_runs_at_all(runs, capsys) -> None:
    Path("outputs").mkdir()
    assert main(["group=mine"]) == 2
    assert "There is no run below" in capsys.readouterr().err


def test_wandb_gets_a_run_of_type_compare(runs, monkeypatch, capsys) -> None:
    from tests.callbacks.test_wandb_run import closed_records, history, summary_of

    monkeypatch.setenv("WANDB_MODE", "offline")
    for rank in (4, 16):
        runs.run(f"r{rank}", {RANK: rank}, psnr=20.0 + rank)
    assert main(["group=mine", "output_dir=o", "wandb=true"]) == 0
    out = capsys.readouterr().out
    (folder,) = Path("o/wandb").glob("offline-run-*")
    assert "wandb sync" in out and folder.name in out
    found = closed_records(folder)
    start = next(each.run for each in found if each.WhichOneof("record_type") == "run")
    assert (start.job_type, start.run_group) == ("compare", "mine")
    assert summary_of(found)["best/psnr"] == "lora_rank=16"
    logged = {key.split("/_type")[0] for row in history(found) for key in row}
    assert any(key.startswith("compare/table") for key in logged)
    assert any(key.startswith("compare/faces") for key in logged)


def test_help() -> None:
    assert main(["--help"]) == 0 and main([]) == 2
