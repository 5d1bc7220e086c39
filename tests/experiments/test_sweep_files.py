"""The W&B sweep files: valid by W&B's own schema, and every trial is a command of ours."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.cli.checks import check
from experiments.cli.compose import compose_words
from experiments.cli.variants import DEFAULT
from experiments.cli.words import parse_words
from osdface.degradation.presets import PRESETS
from osdface.errors import UserError

sweeps = pytest.importorskip("sweeps", reason="the package sweeps is not installed")

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "experiments" / "sweeps").glob("*.yaml"))
# What the summary of a run holds: callbacks.values puts val/ before the metrics' own names.
LOGGED = {"val/psnr", "val/ssim", "val/perceptual", "val/identity"}


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text("utf-8"))


def arguments(command: list[str], values: dict[str, Any]) -> list[str]:
    """The command as W&B's agent writes it, by its documented macros."""
    made: list[str] = []
    for part in command:
        words = [f"{name}={value}" for name, value in values.items()]
        macros = {"${env}": ["/usr/bin/env"], "${args_no_hyphens}": words}
        made += macros.get(part, [part])
    return made


def composed(argv: list[str]) -> Any:
    assert argv[:4] == ["/usr/bin/env", "python", "-m", "experiments.run"]
    words = parse_words(argv[4:])
    cfg, _ = compose_words(words)
    check(cfg, words)
    return cfg


def test_there_are_four() -> None:
    assert {path.stem for path in FILES} == {"losses", "ablation", "lora_rank", "degradation"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_is_valid_and_a_drawn_trial_composes(path) -> None:
    config = read(path)
    assert sweeps.schema_violations_from_proposed_config(config) == []
    assert config["metric"]["name"] in LOGGED
    run = sweeps.next_run(config, [])
    values = {name: entry["value"] for name, entry in run.config.items()}
    assert values.keys() == config["parameters"].keys()
    cfg = composed(arguments(config["command"], values))
    assert cfg.task == "osdface" and cfg.resume == "never"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_listed_value_is_one_of_ours(path) -> None:
    config = read(path)
    fixed = {k: v["value"] for k, v in config["parameters"].items() if "value" in v}
    for name, parameter in config["parameters"].items():
        for value in parameter.get("values", ()):
            composed(arguments(config["command"], {**fixed, name: value}))


def test_lists_are_complete() -> None:
    assert set(read(FILES[0])["parameters"]["variant"]["values"]) == set(DEFAULT)
    presets = read(FILES[1])["parameters"]["data.degradation.preset"]["values"]
    assert set(presets) == set(PRESETS)


def test_grid_has_every_combination() -> None:
    parameters = read(FILES[0])["parameters"]
    lists = [p.get("values", [p.get("value")]) for p in parameters.values()]
    assert len(list(itertools.product(*lists))) == 21


def test_a_wrong_key_in_a_sweep_is_noticed() -> None:
    config = read(FILES[0])
    with pytest.raises(UserError, match=r"losses\.weights"):
        composed(arguments(config["command"], {"experiment": "osdface", "losses.weights.gam": 1}))


def test_schema_notices_a_wrong_method() -> None:
    assert sweeps.schema_violations_from_proposed_config({**read(FILES[0]), "method": "bays"})
