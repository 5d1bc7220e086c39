"""The comparison of methods in a few steps: both budgets, what is alike, what comes back."""

import csv
import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from experiments.cli.compose import compose_words, jobs_of
from experiments.pipelines import prompts
from experiments.pipelines.budget import budgeted, images_per_step, seconds_allowed
from experiments.pipelines.methods import method_configs
from experiments.pipelines.needed import active_terms
from experiments.pipelines.prompts import check_prompts
from experiments.pipelines.stage2 import build_data
from experiments.pipelines.texts import text_prompt
from osdface.errors import UserError
from osdface.files import read_json


def rows(path: Path) -> dict[str, dict[str, str]]:
    with open(path, newline="") as file:
        return {row["variant"]: row for row in csv.DictReader(file)}


def job(name: str, **changes: str):
    words = {"experiment": "compare_one_step", "part": "variant", "variant": name}
    return compose_words(words | changes)[0]


@pytest.mark.slow
def test_both_budgets_end_in_one_report(run_fast, tmp_path) -> None:
    output = tmp_path / "o"
    changes = {"variants": "osdface,osediff_face", "scale.stage2.steps": None}
    assert run_fast("compare_one_step", output, **changes) == 0
    table = rows(output / "ablation.csv")
    names = ["osdface", "osediff_face", "osdface_seconds", "osediff_face_seconds"]
    assert [name for name in table if table[name]["status"] != "reference"] == names
    for name in names[:2]:
        assert float(table[name]["images"]) == 4 and table[name]["budget"] == "images"
    for name in names[2:]:
        assert float(table[name]["training_seconds"]) >= 1 and table[name]["budget"] == "seconds"
        last = torch.load(output / name / "checkpoints/last.ckpt", weights_only=True)
        assert last["training_seconds"] >= 1 and last["images_seen"] == 2 * last["generator_step"]
        assert last["generator_step"] == int(table[name]["steps"])
    text = (output / "ablation.md").read_text()
    assert "At equal images: every method trains on 4 images" in text
    assert "At equal training time: every method trains for 1 s" in text
    assert "data.val_degradation.preset=waveface" in text and not (output / "published.md").exists()
    costs = rows_of(output / "complexity.csv")
    own = read_json(output / "osediff_face" / "complexity.json")
    assert int(costs["osediff_face"]["params"]) == own["params_total"] > 5e6
    assert costs["osediff_face"]["published_params"] == "1302"
    assert float(costs["osdface"]["seconds_per_image"]) > 0
    page = (output / "report.html").read_text()
    assert "One-step methods compared" in page and "Costs of restoring" in page


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with open(path, newline="") as file:
        return {row["method"]: row for row in csv.DictReader(file)}


@pytest.mark.slow
def test_time_spent_before_an_interruption_counts(run_fast, tmp_path, monkeypatch) -> None:
    """A run of one second that was stopped halfway does the other half, not all of it again."""
    from lightning_modules import clock

    # A tenth of a second from a batch's start to its end; saving each step stops the clock between.
    ticks = itertools.count()
    fake = SimpleNamespace(perf_counter=lambda: next(ticks) / 10)
    monkeypatch.setattr(clock, "time", fake)
    output, settle = tmp_path / "o", clock.TrainingClock.settle

    def stop_halfway(own: clock.TrainingClock, device: torch.device | None = None) -> None:
        settle(own, device)
        if own.seconds > 0.55:
            raise KeyboardInterrupt

    changes = {"variants": "osdface", "budgets": "seconds", "scale.stage2.steps": None}
    changes["scale.compare.images"] = "40"  # validated once, at the end
    monkeypatch.setattr(clock.TrainingClock, "settle", stop_halfway)
    assert run_fast("compare_one_step", output, **changes) == 130
    last = output / "osdface_seconds" / "checkpoints" / "last.ckpt"
    before = torch.load(last, weights_only=True)
    assert before["generator_step"] == 5
    assert before["training_seconds"] == pytest.approx(0.5)
    monkeypatch.setattr(clock.TrainingClock, "settle", settle)
    assert run_fast("compare_one_step", output, **changes) == 0
    after = torch.load(last, weights_only=True)
    assert 1 <= after["training_seconds"] <= 1.1 and after["generator_step"] in (10, 11)
    assert after["images_seen"] == 2 * after["generator_step"]


def test_every_method_sees_as_many_images_and_the_same_validation_pairs() -> None:
    for scale, name in (("sd21", "osdface"), ("sd21", "osediff"), ("tiny", "osediff_face")):
        cfg = job(name, scale=scale)
        own = budgeted(cfg)
        seen = own.scale.stage2.steps * images_per_step(own)
        assert 0 <= seen - cfg.scale.compare.images < images_per_step(own)
        assert seconds_allowed(cfg) == 0
    data = {name: build_data(job(name)) for name in ("osdface", "osediff_face")}
    assert data["osdface"].val_degradation == data["osediff_face"].val_degradation
    assert data["osdface"].degradation == data["osdface"].val_degradation
    assert data["osediff_face"].degradation != data["osediff_face"].val_degradation


def test_a_run_by_the_clock_has_its_seconds() -> None:
    timed = job("osediff_seconds")
    assert timed.method.name == "osediff" and timed.budget == "seconds"
    assert seconds_allowed(timed) == timed.scale.compare.seconds > 0


def test_what_any_method_needs_is_looked_for() -> None:
    cfg, _ = compose_words({"experiment": "compare_one_step"})
    paper, osediff = {"mse", "identity", "ea_dists", "gan"}, {"mse", "lpips", "vsd"}
    assert active_terms(cfg) == paper | osediff
    own = compose_words({"experiment": "compare_one_step", "variants": "osediff"})[0]
    assert active_terms(own) == osediff
    assert [each.vre.kind for each in method_configs(cfg)] == ["distinct"] * 2 + ["text_prompt"] * 2


def test_without_a_vre_among_the_methods_none_is_trained(run_fast, tmp_path, monkeypatch) -> None:
    """Not even for the reference row of the untrained generator."""

    def trains(*_):
        raise AssertionError("a stage 1 that no method needs")

    monkeypatch.setattr(prompts, "ensure_vre", trains)
    changes = {"variants": "osediff,osediff_face", "scale.stage2.steps": None, "part": "prepare"}
    assert run_fast("compare_one_step", tmp_path / "o", **changes) == 0
    assert "untrained" in read_json(tmp_path / "o/references/metrics.json")
    words = {"experiment": "compare_one_step", "variants": "osediff"}
    first = method_configs(compose_words(words)[0])[0]
    assert first.scale.stage2.timestep == 999 and first.scale.stage2.trained_layers


def test_captions_are_for_the_methods_that_take_them(monkeypatch, tmp_path) -> None:
    file = tmp_path / "captions.safetensors"
    save_file({"one": text_prompt(job("osediff"), 64)}, file)
    words = {"experiment": "compare_one_step", "vre.captions": str(file)}
    cfg = compose_words(words)[0]
    with pytest.raises(UserError, match=r"needs vre\.kind=captions"):
        check_prompts(cfg, 64)
    own = method_configs(cfg)
    own[-1].vre.kind = "captions"  # as a method file of the user's has it
    monkeypatch.setattr(prompts, "method_configs", lambda _: own)
    check_prompts(cfg, 64)


def test_jobs_and_their_names() -> None:
    words = {"experiment": "compare_one_step", "variants": "osediff", "seeds": "0,1"}
    wanted = [("osediff", 0), ("osediff_seconds", 0), ("osediff", 1), ("osediff_seconds", 1)]
    assert jobs_of(compose_words(words)[0]) == wanted
    one = compose_words(words | {"budgets": "seconds"})[0]
    assert jobs_of(one) == [("osediff_seconds", 0), ("osediff_seconds", 1)]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"variants": "osedif"}, "no method 'osedif'"),
        ({"budgets": "image"}, "'image'"),
        ({"budget": "images"}, "budgets=images"),
        ({"method": "osediff"}, "variants=osediff"),
        ({"scale.stage2.steps": 3}, "scale.compare.images="),
        ({"scale.stage2.val_every": 3}, "scale.compare.validations="),
        ({"scale.stage2.timestep": 9}, "every method alike"),
        ({"losses.mse": 2}, "every method alike"),
        ({"scale.compare.images": 0}, "above 0"),
        ({"data.val_degradation.preset": "wavefac"}, "waveface"),
    ],
)
def test_mistakes_are_one_sentence(changes, told, run_fast, tmp_path, capsys) -> None:
    assert (
        run_fast("compare_one_step", tmp_path / "o", **({"scale.stage2.steps": None} | changes))
        == 2
    )
    error = capsys.readouterr().err
    assert told in error and "Traceback" not in error


def test_budgets_belong_to_the_comparison(run_fast, tmp_path, capsys) -> None:
    for experiment in ("osdface", "ablation_losses"):
        assert run_fast(experiment, tmp_path / "o", budgets="images") == 2
        assert "experiment=compare_one_step" in capsys.readouterr().err


@pytest.mark.slow
def test_the_whole_at_its_own_length(tmp_path, cache_dir) -> None:
    from experiments.run import main

    words = [f"cache_dir={cache_dir}", f"output_dir={tmp_path / 'o'}", "logger=csv"]
    assert main(["experiment=compare_one_step", *words]) == 0
    table = rows(tmp_path / "o" / "ablation.csv")
    assert len(table) == 4 + 8
    assert all(row["status"] in ("finished", "reference") for row in table.values())
    # Trained ones restore better than the untrained generator does.
    for name in ("osdface", "osdface_osediff_losses"):
        assert float(table[name]["psnr"]) > float(table["untrained"]["psnr"])
