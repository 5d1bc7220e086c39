"""Every experiment runs to its end, and what it promises is on disk."""

import csv
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn

from experiments.cli.groups import options
from experiments.pipelines import evaluation
from osdface.checkpoints.export import load_vre, read_config
from osdface.files import read_json
from osdface.paths import assets_dir

NEEDED = {
    "association": {"init_from": "shipped:vre"},
    "pretrain_base": {"init_from": "shipped:base/vae"},
    "ablation_losses": {"variants": "mse,full"},
    "ablation_vre": {"variants": "no_association,hq_dictionary"},
    "compare_one_step": {"variants": "osdface,osediff", "scale.stage2.steps": None},
}
MADE = {
    "ablation_losses": ["ablation.csv", "ablation.md", "ablation.png", "comparison.png"],
    "ablation_vre": ["ablation.csv", "ablation.md", "ablation.png", "comparison.png"],
    "compare_one_step": ["ablation.csv", "complexity.md", "curves.png", "comparison.png"],
    "association": ["export/vre.safetensors", "export/dictionary_hq.safetensors"],
    "vq_dictionary": ["export/vre.safetensors", "export/dictionary_lq.safetensors"],
    "vre": ["export/vre.safetensors", "association/metrics.csv"],
    "osdface": ["export/pytorch_lora_weights.safetensors", "references/metrics.json"],
    "osediff": ["export/vae_lora_weights.safetensors", "references/metrics.json"],
    "osediff_face": ["export/trained_layers.safetensors", "references/metrics.json"],
    "pretrain_vae": ["export/vae/config.json"],
    "pretrain_base": ["export/unet/config.json", "export/caption/caption.safetensors"],
    "pretrain_identity": ["export/identity.safetensors"],
    "pretrain_perceptual": ["export/perceptual.safetensors"],
    "pretrain_vre": ["export/vre.safetensors"],
    "pretrain_tiny": ["export/base/unet/config.json", "export/identity_b.safetensors"],
}


@pytest.mark.parametrize("experiment", options("experiment"))
def test_runs_to_its_end(experiment, run_fast, tmp_path) -> None:
    output = tmp_path / "out put=1"  # a path that Hydra's grammar would stumble over
    assert run_fast(experiment, output, **NEEDED.get(experiment, {})) == 0
    for name in ["config.yaml", "environment.json", "report.html", *MADE[experiment]]:
        assert (output / name).is_file(), name


@pytest.fixture(scope="module")
def osdface_run(tmp_path_factory, cache_dir) -> Path:
    """A finished stage-2 run."""
    from experiments.run import main
    from tests.experiments.pipelines.conftest import fast_words

    output = tmp_path_factory.mktemp("osdface") / "run"
    words = fast_words(cache_dir=cache_dir, output_dir=output)
    assert main(["experiment=osdface", *words]) == 0
    return output


def test_checkpoint_holds_only_what_is_trained_and_loads_safely(osdface_run) -> None:
    checkpoint = torch.load(osdface_run / "checkpoints" / "last.ckpt", weights_only=True)
    names = checkpoint["state_dict"]
    assert names and all(
        "lora_" in n or ".convs." in n or n.startswith("discriminator.head") for n in names
    )
    assert checkpoint["generator_step"] == 2
    assert len(checkpoint["optimizer_states"]) == 2
    assert (osdface_run / "checkpoints" / "last.ckpt").stat().st_size < 25e6


def test_export_is_complete(osdface_run) -> None:
    config = read_config(osdface_run / "export", "osdface")
    assert config["timestep"] == 399 and config["lora"]["rank"] == 16
    assert load_vre(osdface_run / "export").count == 77


def test_metrics_csv_has_every_term_raw_and_weighted(osdface_run) -> None:
    with open(osdface_run / "metrics.csv", newline="") as file:
        columns = next(csv.reader(file))
    for term in ("mse", "identity", "ea_dists", "gan"):
        assert f"loss/{term}/raw" in columns and f"loss/{term}/weighted" in columns
    wanted = {"val/psnr", "val/perceptual", "val/identity", "learning_rate/generator"}
    assert wanted | {"gradient_norm/generator", "throughput/images_per_second"} <= set(columns)


def test_validate_repeats_the_figures_of_the_run(osdface_run, run_fast, tmp_path, capsys) -> None:
    checkpoint = osdface_run / "checkpoints" / "last.ckpt"
    assert run_fast("osdface", tmp_path / "v", mode="validate", checkpoint=checkpoint) == 0
    assert "━" not in capsys.readouterr().out  # progress=false
    before, after = (read_json(f / "metrics.json") for f in (osdface_run, tmp_path / "v"))
    assert before["psnr"] == pytest.approx(after["psnr"], abs=1e-4)
    assert before["identity"] == pytest.approx(after["identity"], abs=1e-5)


def test_export_folder_gives_the_same_figures_as_the_checkpoint(
    osdface_run, run_fast, tmp_path
) -> None:
    export = osdface_run / "export"
    assert run_fast("osdface", tmp_path / "v", mode="test", checkpoint=export) == 0
    before, after = (read_json(f / "metrics.json") for f in (osdface_run, tmp_path / "v"))
    assert before["psnr"] == pytest.approx(after["psnr"], abs=1e-4)
    page = (tmp_path / "v" / "report.html").read_text("utf-8")
    assert f"{after['psnr']:.2f}" in page and "tiny_b (stand-in)" in page


def test_a_broken_checkpoint_is_a_sentence(run_fast, tmp_path, capsys) -> None:
    (tmp_path / "broken.ckpt").write_bytes(b"not a checkpoint")
    changes = {"mode": "validate", "checkpoint": tmp_path / "broken.ckpt"}
    assert run_fast("osdface", tmp_path / "v", **changes) == 2
    assert "no checkpoint" in capsys.readouterr().err


def test_missing_checkpoint_is_a_sentence(run_fast, tmp_path, capsys) -> None:
    assert run_fast("osdface", tmp_path, mode="test", checkpoint=tmp_path / "no.ckpt") == 2
    assert "there is no" in capsys.readouterr().err


def test_same_seed_same_start_for_all_variants(run_fast, tmp_path) -> None:
    """With and without a discriminator the first MSE is the same: weights, data and order."""
    assert run_fast("ablation_losses", tmp_path / "o", variants="mse,full,no_gan") == 0
    first = {}
    for variant in ("mse", "full", "no_gan"):
        with open(tmp_path / "o" / variant / "metrics.csv", newline="") as file:
            first[variant] = next(csv.DictReader(file))["loss/mse/raw"]
    assert first["mse"] == first["full"] == first["no_gan"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scale": "sd21"}, "needs base.path="),
        ({"base.path": "TMP"}, "no unet/config.json"),
        ({"scale.stage2.identity_loss": "tiny_b"}, "score with another one"),
        ({"scale.stage2.perceptual_metric": "vgg16"}, "vgg16-397923af.pth"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_drawn(
    changes, said, run_fast, tmp_path, capsys
) -> None:
    changes = {key: tmp_path if value == "TMP" else value for key, value in changes.items()}
    cache = tmp_path / "cache"
    assert run_fast("osdface", tmp_path / "o", cache_dir=cache, **changes) == 2
    assert said in capsys.readouterr().err
    assert not cache.exists()


def test_processes_that_validate_share_the_pictures_out(run_fast, tmp_path, monkeypatch) -> None:
    """Each of two would else score them all, in the time that one takes."""
    seen: list[str] = []

    class SecondOfTwo:
        global_rank, world_size, accelerator = 1, 2, None
        state = SimpleNamespace(fn=TrainerFn.VALIDATING)

        def validate(self, module, datamodule, **_):
            datamodule.trainer = self  # as Lightning does
            seen.extend(key for batch in datamodule.val_dataloader() for key in batch["key"])
            module.validation_metrics = {"psnr": 1.0}

    monkeypatch.setattr(evaluation, "build_trainer", lambda *_, **__: SecondOfTwo())
    changes = {"mode": "validate", "checkpoint": assets_dir() / "restorer"}
    assert run_fast("osdface", tmp_path / "v", **changes) == 0
    assert len(seen) == len(set(seen)) == 3  # of six
