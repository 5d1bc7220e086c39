"""Distributions and grids against the package that W&B itself draws trials with."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from experiments.sweeping.definition import names, parse_definition, read_definition
from experiments.sweeping.distributions import DISTRIBUTIONS, read_parameter
from experiments.sweeping.trials import count_of, trial
from osdface.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
SHARES = (0.003, 0.2, 0.5, 0.77, 0.998)
CONTINUOUS: dict[str, dict[str, Any]] = {
    "uniform": {"min": -2.0, "max": 5.0},
    "log_uniform": {"min": -4.0, "max": 1.5},
    "log_uniform_values": {"min": 0.001, "max": 2.0},
    "inv_log_uniform": {"min": -4.0, "max": 1.5},
    "inv_log_uniform_values": {"min": 0.001, "max": 2.0},
    "normal": {"mu": 3.0, "sigma": 0.5},
    "log_normal": {"mu": -1.0, "sigma": 0.7},
}
OTHERS: dict[str, dict[str, Any]] = {
    "q_uniform": {"min": 0.0, "max": 2.0, "q": 0.25},
    "q_log_uniform": {"min": 0.0, "max": 5.0, "q": 2},
    "q_log_uniform_values": {"min": 1.0, "max": 90.0, "q": 0.5},
    "q_normal": {"mu": 3.0, "sigma": 2.0, "q": 0.1},
    "q_log_normal": {"mu": 1.0, "sigma": 0.5, "q": 1},
    "beta": {"a": 2.0, "b": 5.0},
    "q_beta": {"a": 2.0, "b": 5.0, "q": 0.05},
    "int_uniform": {"min": 3, "max": 9},
}


def reference(name: str, settings: dict[str, Any]) -> Any:
    params = pytest.importorskip("sweeps.params", reason="the package sweeps is not installed")
    return params.HyperParameter("x", {"distribution": name, **settings})


def parameter(name: str, settings: dict[str, Any]) -> Any:
    return read_parameter("x", {"distribution": name, **settings}, "file")


@pytest.mark.parametrize("name", CONTINUOUS)
def test_quantiles_are_those_of_wandb(name: str) -> None:
    ours, theirs = parameter(name, CONTINUOUS[name]), reference(name, CONTINUOUS[name])
    for share in SHARES:
        assert ours.at(share) == pytest.approx(float(theirs.ppf(share)), rel=1e-9)


@pytest.mark.parametrize("name", OTHERS)
def test_draws_follow_wandbs_distribution(name: str) -> None:
    ours, theirs = parameter(name, OTHERS[name]), reference(name, OTHERS[name])
    rng = np.random.default_rng(0)
    drawn = sorted(ours.draw(rng) for _ in range(4000))
    for share in (0.1, 0.5, 0.9):
        value = float(theirs.ppf(share))
        step = OTHERS[name].get("q", 1 if name == "int_uniform" else 0)
        assert drawn[int(share * 4000)] == pytest.approx(value, abs=step + 0.05 * abs(value) + 0.02)
    if q := OTHERS[name].get("q"):
        assert all(abs(value / q - round(value / q)) < 1e-5 for value in drawn)
        assert {type(value) for value in drawn} == {int if isinstance(q, int) else float}


def test_every_distribution_of_wandbs_schema_is_known() -> None:
    config = pytest.importorskip("sweeps.config", reason="the package sweeps is not installed")
    text = (Path(config.__file__).parent / "schema.json").read_text()
    found = yaml.safe_load(text)["definitions"]
    wanted = set()
    for each in found.values():
        for option in each.get("anyOf", [each]):
            wanted |= set(option.get("properties", {}).get("distribution", {}).get("enum", ()))
    assert wanted == set(DISTRIBUTIONS)


def test_probabilities_are_kept() -> None:
    given = {"values": ["a", "b", "c"], "probabilities": [0.7, 0.3, 0.0]}
    ours = read_parameter("x", given, "file")
    rng = np.random.default_rng(1)
    drawn = [ours.draw(rng) for _ in range(2000)]
    assert drawn.count("a") / 2000 == pytest.approx(0.7, abs=0.04) and "c" not in drawn


def test_the_distribution_is_guessed_as_wandb_does() -> None:
    assert read_parameter("x", {"min": 1, "max": 4}, "f").distribution == "int_uniform"
    assert read_parameter("x", {"min": 1, "max": 4.0}, "f").distribution == "uniform"
    assert read_parameter("x", {"values": [1]}, "f").distribution == "categorical"


@pytest.mark.parametrize("name", ["ablation", "lora_rank", "degradation"])
def test_a_shipped_grid_has_wandbs_trials(name: str) -> None:
    sweeps = pytest.importorskip("sweeps", reason="the package sweeps is not installed")
    definition = read_definition(ROOT / "experiments/sweeps" / f"{name}.yaml")
    count = count_of(definition, 0)
    ours = [trial(definition, number, 0).values for number in range(1, count + 1)]
    theirs = [
        {key: value["value"] for key, value in run.config.items() if key != "resume"}
        for run in sweeps.next_runs(dict(definition.raw), [], n=100)
        if run is not None
    ]
    as_set = {tuple(sorted((k, str(v)) for k, v in each.items())) for each in ours}
    assert as_set == {tuple(sorted((k, str(v)) for k, v in each.items())) for each in theirs}
    assert len(ours) == len(theirs)


def test_a_grid_lists_whole_numbers_and_steps() -> None:
    assert parameter("int_uniform", {"min": 2, "max": 4}).listed() == [2, 3, 4]
    listed = parameter("q_uniform", {"min": 0.0, "max": 0.4, "q": 0.1}).listed()
    assert listed == [0.0, 0.1, 0.2, 0.3]
    with pytest.raises(UserError, match="grid needs a list"):
        parameter("uniform", {"min": 0.0, "max": 1.0}).listed()


def test_a_trial_is_the_same_at_every_call_and_differs_by_seed_and_number() -> None:
    definition = read_definition(ROOT / "experiments/sweeps/losses.yaml")
    drawn = [trial(definition, number, 0).values for number in (1, 2, 1)]
    assert drawn[0] == drawn[2] != drawn[1]
    assert trial(definition, 1, 1).values != drawn[0]
    assert 0.001 <= drawn[0]["losses.weights.gan"] <= 1.0
    # One more parameter leaves the others' draws alone.
    more = {**definition.raw["parameters"], "seed": {"values": [0, 1]}}
    wider = parse_definition({**definition.raw, "parameters": more}, "x", "x")
    assert drawn[0].items() <= trial(wider, 1, 0).values.items()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"distribution": "unifrom", "min": 0, "max": 1}, "did you mean uniform"),
        ({"distribution": "uniform", "min": 0.0}, "uniform needs max:"),
        ({"min": "1e-3", "max": 1.0}, "write 0.001, not 1e-3"),
        ({"min": 2.0, "max": 1.0}, "min: is above max:"),
        ({"distribution": "log_uniform_values", "min": 0.0, "max": 1.0}, "must be above 0"),
        ({"values": []}, "must be a list"),
        ({"values": [1, 2], "probabilities": [0.5]}, "one number above 0 for each value"),
        ({"values": [1, 2], "probabilities": [0.5, 0.1]}, "sum to 0.6"),
        ({"parameters": {"y": {"value": 1}}}, "write the keys with dots"),
        ({"value": 1, "max": 3}, "max: is no setting of constant"),
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0}, "q: must be above 0"),
        ({"distribution": "int_uniform", "min": 0.5, "max": 2}, "whole numbers"),
        (3, "needs value:"),
    ],
)
def test_a_wrong_parameter_is_a_sentence(given: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as error:
        read_parameter("losses.weights.gan", given, "my.yaml")
    assert "my.yaml: parameter losses.weights.gan" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"method": "bays"}, "method: must be grid, random, bayes"),
        ({"parametres": {}}, "did you mean parameters"),
        ({"metric": {"goal": "minimize"}}, "metric: needs name:"),
        ({"metric": {"name": "x", "goal": "min"}}, "minimize or maximize"),
        ({"command": ["python", "train.py"]}, "does not run experiments.run"),
        ({"parameters": {"seed": {"value": 1}}}, "no parameter varies"),
        ({"run_cap": "ten"}, "run_cap: must be"),
    ],
)
def test_a_wrong_file_is_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    good = {"method": "grid", "parameters": {"seed": {"values": [1, 2]}}}
    assert parse_definition(good, "stem", "f").name == "stem"
    with pytest.raises(UserError, match=sentence):
        parse_definition({**good, **changes}, "stem", "f")


def test_shipped_sweeps_are_found_by_name() -> None:
    assert names() == ["ablation", "degradation", "lora_rank", "losses"]
