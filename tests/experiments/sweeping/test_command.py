"""``python -m experiments.sweep`` from its words to its tables, with fake runs."""

import csv
import json
from pathlib import Path

import pytest

from experiments.sweep import main


def table(folder: Path) -> list[dict[str, str]]:
    with open(folder / "trials.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_grid_is_run_ranked_and_gone_on_with(sweeps, capsys) -> None:
    words = [f"sweep={sweeps.ranks(1, 4, 2)}", "scale.stage2.steps=3", "logger=csv"]
    sweeps.does(trial2="fail")
    assert main(words) == 1
    (folder,) = (sweeps.folder / "outputs/sweeps/mine").iterdir()
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == str(folder)
    assert "[2/3] trial-0002 scale.stage2.lora_rank=4" in out
    assert any("failed: ValueError: loss is nan" in line for line in out)
    assert any("1 left, about" in line for line in out)
    rows = table(folder)
    assert [row["status"] for row in rows] == ["finished", "failed", "finished"]
    assert [row["scale.stage2.lora_rank"] for row in rows] == ["1", "4", "2"]
    assert [row["val/perceptual"] for row in rows] == ["1.0", "", "0.5"]
    assert rows[1]["reason"] == "ValueError: loss is nan"
    text = (folder / "summary.md").read_text()
    assert "Best so far: `scale.stage2.lora_rank=2` with val/perceptual 0.5000 (trial-0003)" in text
    assert "It is one run" in text and "`trial-0002` (failed): ValueError" in text
    assert (folder / "sweep.png").stat().st_size > 5000
    # The very same command: the finished ones are kept, the failed one is tried again.
    assert main(words) == 0
    assert "2 finished before: kept" in capsys.readouterr().out
    assert "lora_rank=4` with val/perceptual 0.2500" in (folder / "summary.md").read_text()
    assert len((folder / "trial-0001/begun.txt").read_text().splitlines()) == 2
    # Nothing is left to do, and nothing is done.
    assert main(words) == 0
    assert len(list((sweeps.folder / "outputs/sweeps/mine").iterdir())) == 1


def test_words_reach_every_trial(sweeps, monkeypatch) -> None:
    seen: list[list[str]] = []
    from experiments.sweeping import driver

    popen = driver.subprocess.Popen
    monkeypatch.setattr(
        driver.subprocess, "Popen", lambda words, **k: [seen.append(words), popen(words, **k)][1]
    )
    path = sweeps.ranks(1, 2)
    words = [f"sweep={path}", "scale=tiny", "logger.tags=first,x", "data.root=it's here"]
    assert main([*words[:3], "output_dir=o"]) == 0
    assert seen[1][-6:] == [
        "experiment=osdface",
        "scale.stage2.lora_rank=2",
        "scale=tiny",
        "logger.tags=[first,x,trial-0002]",
        "logger.group=mine",
        f"output_dir={Path('o/trial-0002').absolute()}",
    ]


def test_the_best_is_chosen_by_the_mean_over_seeds(sweeps) -> None:
    ranks = {"scale.stage2.lora_rank": {"values": [2, 1]}, "seed": {"values": [0, 9]}}
    metric = {"name": "val/psnr", "goal": "maximize"}
    assert main([f"sweep={sweeps.file(ranks, metric=metric)}", "output_dir=o", "parallel=2"]) == 0
    text = Path("o/summary.md").read_text()
    assert "`scale.stage2.lora_rank=2` with val/psnr 22.0000 ± 0.0000 over 2 seeds" in text
    assert "(trial-0001, trial-0002)" in text and "It is one run" not in text
    assert len([line for line in text.splitlines() if line.startswith("| ")]) == 4


def test_random_trials_of_a_bayesian_file_and_a_larger_count(sweeps, capsys) -> None:
    gan = {"losses.weights.gan": {"min": 0.01, "max": 1.0}}
    words = [f"sweep={sweeps.file(gan, method='bayes')}", "method=random", "output_dir=o"]
    assert main([*words, "count=2"]) == 0
    assert "mine is a bayes sweep; its trials are random here." in capsys.readouterr().out
    before = table(Path("o"))
    assert main([*words, "count=3"]) == 0
    after = table(Path("o"))
    assert after[:2] == before and len(after) == 3
    assert len({row["losses.weights.gan"] for row in after}) == 3
    # A smaller count forgets nothing.
    assert main([*words, "count=1"]) == 0
    assert json.loads(Path("o/sweep.json").read_text())["count"] == 3


def test_another_sweep_in_the_same_folder_is_refused(sweeps, capsys) -> None:
    assert main([f"sweep={sweeps.ranks(1, 2)}", "output_dir=o", "scale.stage2.steps=3"]) == 0
    for ranks, steps, names in (((1, 2), 4, "scale.stage2.steps"), ((1, 8), 3, "the file's")):
        words = [f"sweep={sweeps.ranks(*ranks)}", f"scale.stage2.steps={steps}"]
        assert main([*words, "output_dir=o"]) == 2
        assert f"holds another sweep, which differs in {names}" in capsys.readouterr().err
    # Where and how it is logged may differ.
    words = [f"sweep={sweeps.ranks(1, 2)}", "scale.stage2.steps=3", "output_dir=o"]
    assert main([*words, "logger=csv", "progress=false"]) == 0
    assert main([*words, "resume=never"]) == 2
    Path("other").mkdir()
    Path("other/file").touch()
    assert main([f"sweep={sweeps.ranks(1, 2)}", "output_dir=other"]) == 2
    assert "no sweep's folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["sweep=lora_rnk"], "There is no sweep 'lora_rnk'; did you mean lora_rank?"),
        (["sweep=no/such.yaml"], "there is no such file"),
        (["count=3"], "sweep=... is missing"),
        (["sweep=losses", "method=random"], "give count=N"),
        (["sweep=losses", "method=grid"], "A grid needs a list of values"),
        (["sweep=lora_rank", "parallel=0"], "parallel must be at least 1"),
        (["sweep=lora_rank", "cuont=3"], "There is no key 'cuont'"),
        (["sweep=lora_rank", "scale=tyni"], "there are: sd21, small, tiny"),
        (["sweep=lora_rank", "scale.stage2.lora_rank=4"], "is what the sweep varies"),
        (["sweep=lora_rank", "experiment=ablation_losses"], "is a sweep of its own"),
        (["sweep=lora_rank", "slurm.nodes=2"], "needs launcher=slurm"),
        (["sweep=lora_rank", "part=gather"], "part=gather needs output_dir="),
        (["sweep=lora_rank", "part=gather", "output_dir=."], "is no sweep's folder"),
    ],
)
def test_a_mistake_is_a_sentence_and_nothing_is_written(sweeps, words, sentence, capsys) -> None:
    assert main(words) == 2
    err = capsys.readouterr().err
    assert sentence in err and err.startswith("error: ") and len(err.splitlines()) == 1
    assert list(sweeps.folder.iterdir()) == []


def test_a_wrong_value_in_the_file_is_told_before_anything_runs(sweeps, capsys) -> None:
    path = sweeps.file({"variant": {"values": ["full", "ful"]}})
    assert main([f"sweep={path}", "output_dir=o"]) == 2
    assert "There is no variant 'ful'" in capsys.readouterr().err
    assert not Path("o").exists()


def test_a_metric_that_no_run_measures_is_said(sweeps) -> None:
    path = sweeps.ranks(1, 2, metric={"name": "val/lpips"})
    assert main([f"sweep={path}", "output_dir=o"]) == 0
    text = Path("o/summary.md").read_text()
    assert "No trial measured val/lpips; there are: perceptual, psnr." in text


def test_a_metric_of_the_log_alone_is_found(sweeps) -> None:
    path = sweeps.ranks(1, 2, metric={"name": "loss/total"})
    assert main([f"sweep={path}", "output_dir=o"]) == 0
    assert [row["loss/total"] for row in table(Path("o"))] == ["0.25", "0.25"]


def test_tables_can_be_gathered_again(sweeps, capsys) -> None:
    path = sweeps.ranks(1, 2)
    assert main([f"sweep={path}", "output_dir=o"]) == 0
    Path("o/trials.csv").unlink()
    assert main([f"sweep={path}", "output_dir=o", "part=gather"]) == 0
    assert len(table(Path("o"))) == 2


def test_help_and_no_words(capsys) -> None:
    assert main(["--help"]) == 0
    assert "lora_rank" in capsys.readouterr().out
    assert main([]) == 2


def test_an_empty_value_of_the_file_is_told_before_anything_runs(sweeps, capsys) -> None:
    path = sweeps.file({"vre.text": {"values": ["a face", ""]}})
    assert main([f"sweep={path}", "output_dir=o"]) == 2
    assert "vre.text= has no value" in capsys.readouterr().err
    assert not Path("o").exists()
