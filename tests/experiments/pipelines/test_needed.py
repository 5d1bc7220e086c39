"""Missing weights stop a run before it draws or trains, and only those that it uses."""

import pytest

from experiments.cli.compose import compose_words
from experiments.pipelines.needed import active_terms, check_weights
from osdface.errors import UserError

PAPER = {"identity", "ea_dists", "gan"}


@pytest.mark.parametrize(
    ("words", "terms"),
    [
        ({"experiment": "osdface"}, {"mse", *PAPER}),
        ({"experiment": "osdface", "variant": "mse"}, {"mse"}),
        ({"experiment": "ablation_losses"}, {"mse", *PAPER, "ea_lpips", "dists"}),
        ({"experiment": "ablation_losses", "variants": "mse,mse+gan"}, {"mse", "gan"}),
        ({"experiment": "ablation_losses", "variants": "mse,no_id"}, {"mse", "gan", "ea_dists"}),
        ({"experiment": "ablation_vre"}, {"mse", *PAPER}),
    ],
)
def test_terms_of_all_variants_count(words, terms) -> None:
    assert active_terms(compose_words(words)[0]) == terms


def test_what_the_run_does_not_use_may_be_missing(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("OSDFACE_WEIGHTS", raising=False)
    words = {"scale": "sd21", "weights_dir": str(tmp_path), "experiment": "ablation_losses"}
    for name in ("vgg16-397923af.pth", "mobilefacenet_foamliu.pt"):
        (tmp_path / name).touch()
    check_weights(compose_words(words | {"variants": "mse,mse+gan"})[0])
    with pytest.raises(UserError, match=r"download=recognition_arcface_ir_se50\.pth"):
        check_weights(compose_words(words)[0])


def test_an_ablation_says_so_before_anything_is_drawn(run_fast, tmp_path, capsys) -> None:
    changes = {"scale.stage2.identity_loss": "arcface_ir_se50", "cache_dir": tmp_path / "c"}
    assert run_fast("ablation_losses", tmp_path / "o", variants="mse,full", **changes) == 2
    error = capsys.readouterr().err
    assert "'recognition_arcface_ir_se50.pth' was not found" in error and "MIT" in error
    assert not (tmp_path / "c").exists()
