"""Every experiment composes at every scale; sizes stand in ``scale/`` alone."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.types import RunMode

from experiments.cli.checks import PROMPT_KINDS
from experiments.cli.compose import compose_words, jobs_of, plain, register
from experiments.cli.groups import CONF, GROUPS, options
from experiments.cli.help import help_text
from experiments.cli.tasks import TASKS
from experiments.cli.variants import DEFAULT, FACTORIAL, TERMS, VRE, variant_names
from osdface.networks.prompts import KINDS

FILES = sorted(CONF.rglob("*.yaml"))


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for child in value:
            yield from leaves(child)
    else:
        yield value


@pytest.mark.parametrize("scale", options("scale"))
@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_composes_at_every_scale(experiment: str, scale: str) -> None:
    config = plain(compose_words({"experiment": experiment, "scale": scale})[0])
    assert config["experiment"] == experiment
    assert config["scale"]["name"] == scale
    assert config["task"] in TASKS or config["task"] == "ablation"
    assert "???" not in list(leaves(config))


@pytest.mark.parametrize("experiment", options("experiment"))
def test_an_experiment_file_holds_no_number_and_tells_its_command(experiment: str) -> None:
    text = (CONF / "experiment" / f"{experiment}.yaml").read_text(encoding="utf-8")
    # Numbers in strings too: a sweep such as "1,2,3".
    number = re.compile(r"[\d.,\seE+-]*\d[\d.,\seE+-]*")
    numbers = [leaf for leaf in leaves(yaml.safe_load(text)) if number.fullmatch(str(leaf))]
    assert not numbers, "sizes stand in conf/scale: here they would win over every scale"
    assert f"#   python -m experiments.run experiment={experiment}" in text
    assert "# Costs: " in text
    assert "# Gives: " in text


@pytest.mark.parametrize("file", sorted(CONF.glob("method/*.yaml")), ids=lambda file: file.stem)
def test_numbers_of_a_method_bear_their_source(file: Path) -> None:
    """A method's published numbers are the same at every size; what is not stands in scale/."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if re.match(r" *\w+: \[?[\d.]", line):
            assert re.search(r"  # [PRAD2O]  ", line), line


@pytest.mark.parametrize("name", ["data", "trainer", "logger", "method"])
def test_every_option_composes(name: str) -> None:
    needed = {"folder": {"data.root": "x"}, "shards": {"data.urls": "x"}}
    for option in options(name):
        words = {"experiment": "osdface", name: option} | needed.get(option, {})
        assert "???" not in list(leaves(plain(compose_words(words)[0])))


def test_the_ablation_is_a_multirun_by_its_own_file() -> None:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        words = ["experiment=ablation_losses"]
        cfg = compose("config", words, return_hydra_config=True)
        more = compose("config", [*words, "variants=factorial"], return_hydra_config=True)
    assert cfg.hydra.mode == RunMode.MULTIRUN
    assert cfg.hydra.sweeper.params.seed == "0"
    assert cfg.hydra.sweeper.params.variant.replace("'", "") == ",".join(DEFAULT)
    assert more.hydra.sweeper.params.variant.replace("'", "").split(",") == list(FACTORIAL)


def test_the_vre_ablation_sweeps_a_group_of_its_own() -> None:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", ["experiment=ablation_vre"], return_hydra_config=True)
    assert cfg.hydra.mode == RunMode.MULTIRUN
    params = cfg.hydra.sweeper.params
    assert set(params) == {"vre_variant", "seed"}
    assert params.vre_variant.replace("'", "").split(",") == list(VRE)


@pytest.mark.parametrize("scale", options("scale"))
def test_vre_variants(scale: str) -> None:
    assert set(VRE) == set(options("vre_variant"))
    plain_run = plain(compose_words({"experiment": "osdface", "scale": scale})[0])
    keys = set()
    for name in VRE:
        words = {"experiment": "ablation_vre", "scale": scale, "part": "variant", "variant": name}
        config = plain(compose_words(words)[0])
        assert config["variant"] == name and config["losses"] == plain_run["losses"]
        keys |= {key for key, value in config["vre"].items() if value != plain_run["vre"][key]}
    # What a variant may set, each of them does.
    assert keys == {"kind", "dictionary", "association"}
    assert plain(compose_words(words | {"variant": "distinct"})[0])["vre"] == plain_run["vre"]


def test_kinds_of_prompt_are_those_of_the_package() -> None:
    assert PROMPT_KINDS == KINDS


def test_variants() -> None:
    cfg, _ = compose_words({"experiment": "ablation_losses", "variants": "factorial"})
    assert len(set(jobs_of(cfg))) == len(FACTORIAL) == 16
    files = options("variant")
    assert variant_names("default", files) == list(DEFAULT)
    assert set(DEFAULT) == set(files)
    assert variant_names(["mse+gan+id", "mse+id+gan", "mse"], files) == ["mse+id+gan", "mse"]
    # A generated variant of the same terms is the written one.
    same = [("full", "mse+id+ea_dists+gan"), ("plain_dists", "mse+id+gan+dists")]
    for written, generated in same:
        terms = [
            plain(compose_words({"experiment": "osdface", "variant": name})[0])["losses"]
            for name in (written, generated)
        ]
        assert terms[0] == terms[1]
        assert set(terms[0]) == {"mse", "weights", *TERMS.values()}


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_file_says_what_it_is(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    assert any(line.startswith("# ") and "@package" not in line for line in lines[:2])


@pytest.mark.parametrize("file", [CONF / "config.yaml", *CONF.glob("[dlmt]*/*.yaml")], ids=str)
def test_every_key_is_explained(file: Path) -> None:
    text = file.read_text(encoding="utf-8").split("\nhydra:")[0]
    text = re.sub(r"defaults:\n(  - .*\n)+", "", text)
    for line in text.splitlines():
        if re.match(r" *\w+: ", line):
            assert "  # " in line, line


def test_help_names_everything() -> None:
    text = help_text()
    for group in GROUPS:
        for name, line in options(group).items():
            assert line, f"{group}/{name} has no first line"
            assert re.search(rf"^  {re.escape(name)} +{re.escape(line)}$", text, re.M)
    config = plain(compose_words({"experiment": "osdface"})[0])
    for key in ("resume", "seeds", "variants", "part", "cache_dir"):
        assert key in config
        assert re.search(rf"^  {key} ", text, re.M)
