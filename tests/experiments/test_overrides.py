"""Words become typed values; no text that a user types meets Hydra's grammar."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from experiments.cli.compose import compose_words, plain
from experiments.cli.sweep import hydra_sweep
from experiments.cli.values import typed_value
from experiments.cli.words import parse_words, to_argv
from osdface.errors import UserError

AWKWARD = [
    "with space/and  two ",
    "a=b=c",
    "a,b,,c",
    "[1]",
    "[1] (2) {3}",
    "(1)",
    "shards-{0..9}.tar::{000..069}",
    "~/home",
    "Müller/größe/日本",
    "it's",
    "'quoted'",
    '"double"',
    "\\'",
    "back\\slash\\",
    "${HOME}/\\${x}",
    "$HOME #no comment",
    "a: b",
    "- x",
    "*&!%@`|>",
    "007",
    "1e3",
    "true",
    "None",
]
TEXT_KEYS = ("output_dir", "checkpoint", "cache_dir", "init_from", "data.root", "base.path")


@pytest.mark.parametrize("first", range(0, len(AWKWARD), len(TEXT_KEYS)))
def test_text_is_taken_literally(first: int) -> None:
    texts = dict(zip(TEXT_KEYS, AWKWARD[first:], strict=False))
    words = {"experiment": "osdface", "data": "folder"} | texts
    assert parse_words(to_argv(words)) == words
    cfg, _ = compose_words(words)
    assert {key: OmegaConf.select(cfg, key) for key in texts} == texts


def test_awkward_text_survives_the_sweep(tmp_path: Path) -> None:
    folder = tmp_path / "a b,c=[1] (2) {0..9}~ä's ${x}"
    words = {"experiment": "ablation_losses", "variants": "mse", "output_dir": str(folder)}
    words["cache_dir"] = "".join(AWKWARD)
    seen: list[dict[str, Any]] = []
    hydra_sweep(compose_words(words)[1], lambda cfg: seen.append(plain(cfg)))
    assert [config["output_dir"] for config in seen] == [str(folder)]
    assert seen[0]["cache_dir"] == "".join(AWKWARD)
    assert [each.name for each in tmp_path.iterdir()] == [folder.name]


@pytest.mark.parametrize(
    ("key", "text", "default", "value"),
    [
        ("variants", "[mse,full]", "default", ["mse", "full"]),
        ("variants", "mse, 'full'", "default", ["mse", "full"]),
        ("variants", "factorial", "default", "factorial"),
        ("variants", "[mse]", "default", ["mse"]),
        ("seeds", "[0,1,2]", None, [0, 1, 2]),
        ("seeds", "3", None, [3]),
        ("logger.tags", "a,b", [], ["a", "b"]),
        ("losses.ea_dists", "0.5", 1.0, 0.5),
        ("losses.ea_dists", "2", 1.0, 2.0),
        ("scale.stage2.learning_rate", "1e-4", 2e-3, 1e-4),
        ("scale.stage2.steps", "1e3", 120, 1000),
        ("seed", "-1", 0, -1),
        ("data.flip", "False", True, False),
        ("checkpoint", "null", None, None),
        ("checkpoint", "1", None, "1"),
        ("scale.stage2.clip", "0.5", None, 0.5),
        ("data.degradation.sigma", "[0.1, 3]", None, [0.1, 3]),
        ("data.degradation.gray", "0.5", None, 0.5),
        ("data.degradation.then", "difface", None, "difface"),
        ("data.degradation.then", "[a, {preset: b}]", None, ["a", {"preset": "b"}]),
    ],
)
def test_the_type_of_the_default_decides(key: str, text: str, default: Any, value: Any) -> None:
    found = typed_value(key, text, default)
    assert found == value
    assert type(found) is type(value)


def test_lists_and_mappings_of_the_configuration() -> None:
    words = parse_words(["experiment=osdface", "scale.vre.channels=8, 16", "losses={gan: 0.5}"])
    cfg, _ = compose_words(words)
    assert cfg.scale.vre.channels == [8, 16]
    assert (cfg.losses.gan, cfg.losses.mse) == (0.5, 1.0)
    then = "{preset: difface, sigma: [0.1, 3]}"
    cfg, _ = compose_words({"experiment": "osdface", "data.degradation.then": then})
    assert cfg.data.degradation.then == {"preset": "difface", "sigma": [0.1, 3]}


@pytest.mark.parametrize(
    ("key", "text", "default"),
    [
        ("seed", "1.5", 0),
        ("seed", "nan", 0),
        ("seed", "inf", 0),
        ("losses.gan", "much", 1.0),
        ("losses.gan", "nan", 1.0),
        ("data.flip", "maybe", True),
        ("seeds", "a,b", None),
        ("variants", "[]", "default"),
        ("data.degradation.sigma", "[1", None),
    ],
)
def test_wrong_types(key: str, text: str, default: Any) -> None:
    with pytest.raises(UserError, match=f"{key} must be"):
        typed_value(key, text, default)


def test_the_last_of_repeated_words_counts() -> None:
    assert parse_words(["seed=1", "scale=tiny", "--seed=2"]) == {"scale": "tiny", "seed": "2"}
