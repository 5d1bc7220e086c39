"""OSEDiff's stage 2 by the command line: what is built, resumed, captioned and reopened."""

import csv
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from experiments.cli import checks
from experiments.cli.compose import compose_words, plain
from experiments.pipelines import stage2
from experiments.pipelines.build import open_base
from experiments.pipelines.initial import started_from
from experiments.pipelines.prompts import check_prompts, prompt_inputs
from experiments.pipelines.texts import negative_prompt, text_prompt
from lightning_modules.distillation import OneStepDistillationModule
from osdface import Restorer
from osdface.checkpoints.export import load_tensors, read_config
from osdface.checkpoints.folder import LAYERS_FILE, PROMPT_FILE, VAE_LORA_FILE
from osdface.errors import UserError
from osdface.files import read_json
from osdface.networks.adaptation import layer_state
from osdface.networks.text import load_text_encoder
from osdface.paths import assets_dir
from tests.text_encoder import write_text_encoder

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1


def composed(**words: str):
    return compose_words({"experiment": "osediff"} | words)[0]


def test_facts_of_the_published_method_at_full_size() -> None:
    """Those of its released training code."""
    config = plain(composed(experiment="osediff_face", scale="sd21"))
    chosen, losses = config["scale"]["stage2"], config["losses"]
    terms = {k: v * losses["weights"][k] for k, v in losses.items() if k != "weights" and v}
    assert terms == {"mse": 1.0, "lpips": 2.0, "vsd": 1.0}
    assert config["vsd"] == {"guidance": 7.5, "timesteps": [20, 980], "regulariser_weight": 1.0}
    assert (chosen["timestep"], chosen["lora_rank"], chosen["lora_alpha"]) == (999, 4, 8)
    assert chosen["learning_rate"] == chosen["regulariser_learning_rate"] == 5e-5
    assert (chosen["weight_decay"], chosen["clip"], chosen["batch_size"]) == (1e-2, 1.0, 4)
    assert config["data"]["degradation"]["preset"] == "osediff_face"
    assert plain(composed())["data"]["degradation"]["preset"] == "waveface"


def test_osdface_with_its_losses_differs_in_the_losses_alone() -> None:
    own = plain(composed(experiment="osdface"))
    other = plain(composed(experiment="osdface", method="osdface_osediff_losses"))
    assert other.pop("losses") != own.pop("losses")
    assert {own.pop("variant"), other.pop("variant")} == {"full", "mse+lpips+vsd"}
    assert own.pop("method")["name"] != other.pop("method")["name"]
    assert own == other


def test_the_word_after_the_method_wins() -> None:
    config = plain(composed(variant="mse", **{"scale.stage2.timestep": "400"}))
    assert config["losses"]["vsd"] == 0 and config["scale"]["stage2"]["timestep"] == 400


@pytest.fixture(scope="module")
def osediff_run(tmp_path_factory, cache_dir) -> Path:
    """A finished run with three optimizers and averaged weights."""
    from experiments.run import main
    from tests.experiments.pipelines.conftest import fast_words

    output = tmp_path_factory.mktemp("osediff") / "run"
    words = fast_words(cache_dir=cache_dir, output_dir=output, **CHANGES)
    assert main(["experiment=osediff", *words]) == 0
    return output


CHANGES = {
    "variant": "mse+gan+lpips+vsd",
    "scale.stage2.steps": 3,
    "scale.stage2.val_every": 3,
    "scale.stage2.ema_decay": 0.5,
}


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_resumed_equals_uninterrupted_bit_for_bit(osediff_run, run_fast, tmp_path, monkeypatch):
    real = OneStepDistillationModule.training_step

    def training_step(self, batch, batch_idx):
        if self.generator_step == 2:
            raise RuntimeError("power cut")
        return real(self, batch, batch_idx)

    with monkeypatch.context() as context:
        context.setattr(OneStepDistillationModule, "training_step", training_step)
        with pytest.raises(RuntimeError, match="power cut"):
            run_fast("osediff", tmp_path / "cut", **CHANGES)
    assert run_fast("osediff", tmp_path / "cut", **CHANGES) == 0
    whole, resumed = weights(osediff_run), weights(tmp_path / "cut")
    assert whole.keys() == resumed.keys()
    for name in whole:
        assert torch.equal(whole[name], resumed[name]), name
    for part in ("generator.codec.vae.encoder.", "generator.unet.conv_in.", "regulariser.unet."):
        assert any(name.startswith(part) for name in whole), part


def test_export_holds_all_that_is_trained_and_checkpoint_restores_alike(osediff_run) -> None:
    export = osediff_run / "export"
    config = read_config(export, "osdface")
    assert config["timestep"] == 999 and config["lora"]["rank"] == 4
    assert config["method"] == "osediff" and config["trained_layers"] == ["unet.conv_in"]
    # Averaged, as everything that is exported.
    state = torch.load(osediff_run / "checkpoints" / "last.ckpt", weights_only=True)
    shadow = state["callbacks"]["EMA"]["shadow"]
    assert not any(name.startswith(("regulariser", "discriminator")) for name in shadow)
    layers = load_tensors(export / LAYERS_FILE)
    assert torch.equal(layers["unet.conv_in.weight"], shadow["generator.unet.conv_in.weight"])
    assert len(load_tensors(export / VAE_LORA_FILE)) == 2 * len(config["lora_vae"]["targets"])
    images = [
        Restorer.from_pretrained(path, device="cpu").restore(IMAGES).images
        for path in (export, osediff_run / "checkpoints" / "last.ckpt")
    ]
    torch.testing.assert_close(images[0], images[1], atol=1e-4, rtol=0)


def test_a_checkpoint_without_its_run_s_export_lacks_the_prompt(osediff_run, tmp_path) -> None:
    """As the checkpoint of a run that is not finished."""
    alone = tmp_path / "checkpoints"
    alone.mkdir()
    shutil.copy(osediff_run / "checkpoints/last.ckpt", alone)
    with pytest.raises(UserError, match="which holds its prompt: finish the run"):
        Restorer.from_pretrained(alone / "last.ckpt", device="cpu")


def test_validate_repeats_the_figures(osediff_run, run_fast, tmp_path) -> None:
    """By another experiment's name: what the weights are decides."""
    changes = {"mode": "validate", "checkpoint": osediff_run / "export"}
    assert run_fast("osdface", tmp_path / "v", **changes) == 0
    before, after = (read_json(f / "metrics.json") for f in (osediff_run, tmp_path / "v"))
    assert before["psnr"] == pytest.approx(after["psnr"], abs=1e-4)


@pytest.mark.slow
def test_training_goes_on_from_an_export_and_another_method_is_refused(
    osediff_run, run_fast, tmp_path
) -> None:
    changes = {
        "init_from": osediff_run / "export",
        "scale.stage2.steps": 1,
        "scale.stage2.val_every": 1,
    }
    changes["scale.stage2.learning_rate"] = 0.0
    assert run_fast("osediff", tmp_path / "on", **changes) == 0
    before = load_tensors(osediff_run / "export" / VAE_LORA_FILE)
    after = load_tensors(tmp_path / "on/export" / VAE_LORA_FILE)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=0)
    start = {"init_from": str(osediff_run / "export")}
    vae, layers = "scale.stage2.lora_vae_targets", "scale.stage2.trained_layers"
    for words, said in (
        ({"experiment": "osdface"}, "set vre.kind=text_prompt"),
        ({vae: "null"}, f"set {vae}=all"),
        ({layers: "[]"}, f"set {layers}=[unet.conv_in]"),
    ):
        with pytest.raises(UserError, match=re.escape(said)):
            started_from(composed(**start, **words))


def test_captions_of_a_file_are_learned_from_and_missing_ones_counted(
    run_fast, tmp_path, capsys
) -> None:
    default, file = text_prompt(composed(), 64), tmp_path / "captions.safetensors"
    # All training pictures have a prompt of their own, no held-out one has.
    names = [f"{person:06d}_{picture:04d}" for person in range(6) for picture in range(2)]
    save_file({name: default + 1 for name in names}, file)
    changes = {"vre.kind": "captions", "vre.captions": file}
    changes |= {"scale.stage2.steps": 2, "scale.stage2.val_every": 1}
    with pytest.warns(UserWarning, match="get the default prompt"):
        assert run_fast("osediff", tmp_path / "run", **changes) == 0
    assert "its empty caption stands in for words" in capsys.readouterr().out
    with open(tmp_path / "run/metrics.csv", newline="") as csv_file:
        rows = list(csv.DictReader(csv_file))
    # The second step comes after the first validation: 3 people with 2 pictures each.
    assert [float(row["prompt/without_caption"]) for row in rows] == [0, 6]
    # Other words than the negative ones: guidance leads somewhere from the first step on, where the
    # regulariser's LoRA is still zero.
    assert float(rows[0]["loss/vsd/raw"]) > 1e-6
    export = tmp_path / "run/export"
    assert read_config(export, "osdface")["prompt"]["kind"] == "captions"
    assert torch.equal(load_tensors(export / PROMPT_FILE)["prompt"], default)
    image = Restorer.from_pretrained(export, device="cpu").restore(IMAGES).images
    assert torch.isfinite(image).all()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"vre.text": "a face"}, "vre.text='a face' needs a base with text_encoder/"),
        ({"vre.negative_text": "blurry"}, "give vre.negative_prompt=FILE"),
        ({"vre.kind": "captions", "vre.captions": "NO"}, "there is no"),
        ({"vre.kind": "captions", "vre.captions": "WORDS"}, "holds words"),
        ({"vre.captions": "WORDS"}, "needs vre.kind=captions"),
        ({"vre.kind": "captions"}, "vre.kind=captions needs vre.captions=FILE"),
        ({"vre.kind": "captions", "vre.captions": "SHORT"}, "the prompt of 'b' has shape (2, 64)"),
        ({"scale.stage2.lora_vae_targets": "[conv9]"}, "no layer conv9"),
        ({"scale.stage2.trained_layers": "[unet.conv_on]"}, "no layer 'unet.conv_on'"),
        ({"method": "osedif"}, "osediff"),
        ({"vsd.timesteps": "[20,2000]"}, "within [0,1000]"),
        ({"vsd.timesteps": "[20]"}, "within [0,1000]"),
    ],
)
def test_mistakes_are_sentences(words, said, tmp_path, tiny_base) -> None:
    """All before anything is drawn."""
    (tmp_path / "words.jsonl").write_text(json.dumps({"key": "a", "text": "b"}), encoding="utf-8")
    default = text_prompt(composed(), 64)
    save_file({"a": default, "b": default[:2].clone()}, tmp_path / "short.safetensors")
    files = {"WORDS": "words.jsonl", "NO": "no.jsonl", "SHORT": "short.safetensors"}
    places = {name: str(tmp_path / file) for name, file in files.items()}
    words = {key: places.get(value, value) for key, value in words.items()}
    with pytest.raises(UserError, match=re.escape(said)):
        cfg = composed(**words)
        checks.check(cfg, words)
        check_prompts(cfg, 64)
        layer_state(tiny_base.unet, stage2.adaptation(cfg, tiny_base.codec).trained_layers)


@pytest.fixture
def worded_base(tmp_path) -> Path:
    """The tiny base with a text encoder, as Stable Diffusion's folder has one."""
    base = tmp_path / "base"
    shutil.copytree(assets_dir() / "base", base)
    return write_text_encoder(base, width=64)


def test_words_are_embedded_by_the_base_s_own_text_encoder(worded_base, tmp_path, capsys) -> None:
    encoder = load_text_encoder(worded_base)
    words = {"base.path": str(worded_base), "vre.text": "a face", "vre.negative_text": "blur"}
    cfg = composed(**words)
    assert torch.equal(text_prompt(cfg, 64), encoder.embed(["a face"])[0])
    assert torch.equal(negative_prompt(cfg, 64), encoder.embed(["blur"])[0])
    # No words at all are no words, not the word None.
    nothing = composed(**words | {"vre.text": "null"})
    assert torch.equal(text_prompt(nothing, 64), encoder.embed([""])[0])
    file = tmp_path / "words.jsonl"
    file.write_text(json.dumps({"key": "one", "text": "b c"}), encoding="utf-8")
    own = composed(**words, **{"vre.kind": "captions", "vre.captions": str(file)})
    check_prompts(own, 64)
    assert not capsys.readouterr().out  # nothing stands in for anything
    source = prompt_inputs(own, SimpleNamespace(prompt_dim=64))
    first, second = source["captions"].prompts(["one", "other"], source["text"])
    assert torch.equal(first, encoder.embed(["b c"])[0]) and second is None
    save_file({"prompt": torch.ones(3, 64)}, tmp_path / "p.safetensors")
    own.vre.text_prompt = str(tmp_path / "p.safetensors")
    with pytest.raises(UserError, match=r"shape \(8, 64\).*\(3, 64\)"):
        check_prompts(own, 64)


@pytest.mark.slow
def test_a_run_with_words_for_some_images(worded_base, run_fast, tmp_path) -> None:
    """In bfloat16: the text encoder computes in float32, and batches mix both kinds of prompt."""
    file = tmp_path / "words.jsonl"
    lines = [json.dumps({"key": f"00000{n}_0000", "text": "a face"}) for n in range(6)]
    file.write_text("\n".join(lines), encoding="utf-8")
    changes = {"base.path": worded_base, "vre.kind": "captions", "vre.captions": file}
    changes |= {"vre.negative_text": "blur", "trainer.precision": "bf16-mixed"}
    changes |= {"scale.stage2.batch_size": 4, "scale.stage2.steps": 3}
    with pytest.warns(UserWarning, match="get the default prompt"):
        assert run_fast("osediff", tmp_path / "run", **changes) == 0
    with open(tmp_path / "run/metrics.csv", newline="") as csv_file:
        last = list(csv.DictReader(csv_file))[-1]
    assert 0 < float(last["prompt/without_caption"]) < 12 + 6
    assert float(last["loss/vsd/raw"]) > 1e-6
    default = load_tensors(tmp_path / "run/export" / PROMPT_FILE)["prompt"]
    assert torch.equal(default, load_text_encoder(worded_base).embed([""])[0])


def test_guidance_between_two_equal_prompts_is_told(capsys, tmp_path) -> None:
    check_prompts(composed(), 64)
    assert "guidance leads nowhere" in capsys.readouterr().out
    save_file({"prompt": torch.ones(3, 64)}, tmp_path / "p.safetensors")
    check_prompts(composed(**{"vre.negative_prompt": str(tmp_path / "p.safetensors")}), 64)
    check_prompts(composed(variant="mse"), 64)
    assert "guidance" not in capsys.readouterr().out


@pytest.fixture(scope="module")
def tiny_base():
    return open_base(composed())
