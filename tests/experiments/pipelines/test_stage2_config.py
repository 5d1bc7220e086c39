"""Words of stage 2 become objects: efficiency, discriminators, loss terms, identity networks."""

import pytest
import torch

from experiments.cli import checks
from experiments.cli.compose import compose_words
from experiments.pipelines.build import build_losses, build_metrics, loss_weights
from experiments.pipelines.critics import CRITICS
from experiments.pipelines.fitting import build_trainer
from experiments.pipelines.stage2 import efficiency, trained_weights
from osdface.errors import UserError
from osdface.losses import LOSS_NAMES
from osdface.networks.discriminators import DISCRIMINATORS
from osdface.networks.efficiency import COMPILED_PARTS
from osdface.paths import assets_dir

FROZEN = "scale.stage2.efficiency.frozen_dtype"


def composed(**words: str):
    return compose_words({"experiment": "osdface"} | words)[0]


def test_words_that_the_command_line_checks_are_the_package_s() -> None:
    assert checks.DISCRIMINATORS == DISCRIMINATORS
    assert checks.COMPILED_PARTS == COMPILED_PARTS


@pytest.mark.parametrize(
    ("precision", "word", "dtype"),
    [
        ("32-true", "auto", "float32"),
        ("bf16-mixed", "auto", "bfloat16"),
        ("bf16-mixed", "float16", "float16"),
    ],
)
def test_frozen_weights_follow_the_precision(precision, word, dtype) -> None:
    cfg = composed(**{"trainer.precision": precision, FROZEN: word})
    assert efficiency(cfg).frozen_dtype == dtype


def test_half_weights_without_autocast_are_a_sentence() -> None:
    with pytest.raises(UserError, match=r"needs trainer\.precision=bf16-mixed"):
        efficiency(composed(**{FROZEN: "bfloat16"}))


@pytest.mark.parametrize(
    ("key", "word"),
    [
        ("scale.stage2.discriminator", "patches"),
        ("scale.stage2.gan_kind", "hinges"),
        ("scale.stage2.efficiency.attention", "flash"),
        ("scale.stage2.efficiency.compile", "[decoder]"),
    ],
)
def test_unknown_words_are_a_sentence(key, word) -> None:
    words = {"experiment": "osdface", key: word}
    with pytest.raises(UserError, match="There is no"):
        checks.check(compose_words(words)[0], words)


def test_every_loss_is_a_term_of_the_config() -> None:
    cfg = composed()
    terms = set(cfg.losses) - {"weights"}
    assert terms == set(cfg.losses.weights) == {*LOSS_NAMES, *CRITICS}
    weights = loss_weights(composed(variant="mse+lpips+l1"))
    assert set(build_losses(cfg, weights).losses) == {"mse", "lpips", "l1"}


def test_the_scoring_network_is_not_that_of_the_loss_under_another_name() -> None:
    same = str(assets_dir() / "identity_a.safetensors")
    with pytest.raises(UserError, match="score with another one"):
        build_metrics(composed(**{"scale.stage2.identity_metric": same}))


def test_a_trainer_for_gpus_without_one_is_a_sentence(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match="no GPU that torch can use: take trainer=cpu"):
        build_trainer(composed(trainer="gpu"), [])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=r"trainer\.devices=4: this machine has 2 GPU"):
        build_trainer(composed(trainer="ddp", **{"trainer.devices": "4"}), [])


def test_a_training_without_any_loss_is_a_sentence() -> None:
    none = {f"losses.{term}": "0" for term in ("mse", "identity", "ea_dists", "gan")}
    with pytest.raises(UserError, match="All losses weigh 0"):
        trained_weights(composed(**none))
    assert trained_weights(composed(**none | {"losses.l1": "2"})) == {"l1": 2.0}
    assert trained_weights(composed(mode="test", **none)) == {}
