"""One restorer in each of its layouts: export, compact export, run checkpoint, released files."""

import copy
import json

import pytest
import torch
from safetensors.torch import save_file

from osdface import Restorer
from osdface.checkpoints import opening, released
from osdface.checkpoints.compact import compact_restorer
from osdface.checkpoints.export import load_vre, read_config, save_restorer, save_vre
from osdface.checkpoints.released import save_prompt_convs, save_released_dictionaries
from osdface.errors import UserError
from osdface.networks.autoencoder import VQAutoencoder, VQConfig
from osdface.networks.base import load_base, save_base, state_fingerprint
from osdface.networks.embedder import PromptConvs
from osdface.networks.generator import OneStepGenerator
from osdface.networks.lora import DEFAULT_TARGETS, add_lora, load_lora_state, lora_state, merge_lora
from osdface.networks.prompts import build_prompt_source
from osdface.pickles import load_pickle

LORA = {"rank": 4, "alpha": 4, "targets": list(DEFAULT_TARGETS)}
IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


# First of all: `tiny_generator` adds LoRA to the same base.
@pytest.fixture(autouse=True)
def base(tiny_base, tmp_path):
    save_base(tiny_base, tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def expected(tiny_generator) -> torch.Tensor:
    """What the unmerged generator makes of IMAGES."""
    with torch.no_grad():
        return tiny_generator.eval()(IMAGES).image.clamp(-1, 1)


@pytest.fixture
def fingerprint(base) -> str:
    return load_base(base).fingerprint


def config_of(base, kind: str = "distinct", **vre) -> dict:
    """What of a run's configuration a checkpoint is read with."""
    chosen = {"lora_rank": 4, "lora_alpha": 4, "lora_targets": None, "timestep": 399}
    return {
        "base": {"path": str(base)},
        "vre": {"kind": kind, "checkpoint": None} | vre,
        "scale": {
            "resolution": 16,
            "vre": {"prompt_hidden_dim": 8},
            "stage2": chosen | {"prompt_heads": 2},
        },
    }


def save_ckpt(path, generator: OneStepGenerator, config: dict, fingerprints=None, **more) -> None:
    """As the trainer's checkpoints: trained tensors alone, under the module's names."""
    trained = {
        f"generator.{name}": parameter.detach()
        for name, parameter in generator.named_parameters()
        if parameter.requires_grad
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"state_dict": trained, "generator_step": 3, "config": config}
    torch.save(content | {"fingerprints": fingerprints or {}} | more, path)


def restored(path, **options) -> torch.Tensor:
    return Restorer.from_pretrained(path, device="cpu", **options).restore(IMAGES).images


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


def test_export_folder(tiny_generator, base, fingerprint, expected, tmp_path) -> None:
    facts = {"path": str(base), "fingerprint": fingerprint}
    save_restorer(tmp_path / "run", tiny_generator, LORA, facts, {"resolution": 16})
    close(restored(tmp_path / "run"), expected)
    (tmp_path / "elsewhere").mkdir()
    moved = (tmp_path / "base").rename(tmp_path / "elsewhere" / "base")
    with pytest.raises(UserError, match="give base=FOLDER"):
        restored(tmp_path / "run")
    close(restored(tmp_path / "run", base=moved), expected)


def test_another_base_is_refused(tiny_generator, base, tmp_path) -> None:
    facts = {"path": str(base), "fingerprint": "another"}
    save_restorer(tmp_path / "run", tiny_generator, LORA, facts, {"resolution": 16})
    with pytest.raises(UserError, match="trained on another base"):
        restored(tmp_path / "run")


def test_run_checkpoint_with_its_export_beside(tiny_generator, base, fingerprint, tmp_path) -> None:
    tiny_generator.prompt_source.embedder.count = 77  # as every run's
    with torch.no_grad():
        expected = tiny_generator.eval()(IMAGES).image.clamp(-1, 1)
    facts = {"path": str(base), "fingerprint": fingerprint}
    vre = state_fingerprint(tiny_generator.prompt_source.embedder.state_dict())
    save_restorer(tmp_path / "run" / "export", tiny_generator, LORA, facts)
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    found = {"base": fingerprint, "vre": vre, "prompt": "distinct"}
    save_ckpt(path, tiny_generator, config_of(base), found)
    close(restored(path), expected)


def test_run_checkpoint_with_a_named_vre(tiny_generator, base, tmp_path) -> None:
    embedder = tiny_generator.prompt_source.embedder
    save_vre(tmp_path / "vre", embedder.config, embedder.state_dict())
    path = tmp_path / "a.ckpt"
    save_ckpt(path, tiny_generator, config_of(base))
    with pytest.raises(UserError, match="give vre=FOLDER"):
        restored(path)
    embedder.count = 77
    with torch.no_grad():
        expected = tiny_generator.eval()(IMAGES).image.clamp(-1, 1)
    close(restored(path, vre=tmp_path / "vre"), expected)
    save_ckpt(path, tiny_generator, config_of(base, checkpoint=str(tmp_path / "vre")))
    close(restored(path), expected)
    save_ckpt(path, tiny_generator, config_of(base), {"vre": "another"})
    with pytest.raises(UserError, match="another VRE"):
        restored(path, vre=tmp_path / "vre")


def test_averaged_weights_are_taken_where_there_are_some(tiny_generator, base, tmp_path) -> None:
    """With EMA a run validates and exports the averages: so are they here."""
    embedder = tiny_generator.prompt_source.embedder
    save_vre(tmp_path / "vre", embedder.config, embedder.state_dict())
    config = config_of(base, checkpoint=str(tmp_path / "vre"))
    save_ckpt(tmp_path / "averages.ckpt", tiny_generator, config)
    shadow = torch.load(tmp_path / "averages.ckpt", weights_only=True)["state_dict"]
    other = copy.deepcopy(tiny_generator)
    for parameter in other.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1
    save_ckpt(tmp_path / "raw.ckpt", other, config)
    save_ckpt(tmp_path / "both.ckpt", other, config, callbacks={"EMA": {"shadow": shadow}})
    averaged = restored(tmp_path / "averages.ckpt")
    assert (restored(tmp_path / "raw.ckpt") - averaged).abs().max() > 1e-3
    assert torch.equal(restored(tmp_path / "both.ckpt"), averaged)


@pytest.mark.parametrize("kind", ["learned_prompt", "none", "attention_pooling"])
def test_run_checkpoint_of_other_prompts(kind, tiny_generator, base, tmp_path) -> None:
    embedder = tiny_generator.prompt_source.embedder
    embedder.count = 77
    save_vre(tmp_path / "vre", embedder.config, embedder.state_dict())
    generator = tiny_generator
    generator.prompt_source = build_prompt_source(kind, 12, embedder, hidden_dim=8, heads=2)
    save_ckpt(tmp_path / "a.ckpt", generator, config_of(base, kind))
    vre = {"vre": tmp_path / "vre"} if kind == "attention_pooling" else {}
    found = Restorer.from_pretrained(tmp_path / "a.ckpt", device="cpu", **vre).restore(IMAGES)
    with torch.no_grad():
        close(found.images, generator.eval()(IMAGES).image.clamp(-1, 1))
    assert (found.tokens is None) == (kind in ("learned_prompt", "none"))


def test_released_files(tiny_generator, base, tmp_path, monkeypatch) -> None:
    """In the published layout, with small networks; alpha is 16 there whatever the rank."""
    small = VQConfig((8, 16), 1, 32, 16, 8)
    monkeypatch.setattr(released, "VQConfig", lambda: small)
    torch.manual_seed(0)
    hq, lq, convs = VQAutoencoder(small), VQAutoencoder(small), PromptConvs(16, 8, 12)
    folder = tmp_path / "released"
    save_released_dictionaries(folder / "associate_2.ckpt", hq, lq)
    save_prompt_convs(folder / "embedding_change_weights.pth", convs)
    with pytest.raises(UserError, match="lacks pytorch_lora_weights"):
        restored(folder, base=base)
    save_file(lora_state(tiny_generator.unet), folder / "pytorch_lora_weights.safetensors")
    with pytest.raises(UserError, match="need base=FOLDER"):
        restored(folder)
    found = Restorer.from_pretrained(folder, device="cpu", base=base)
    assert found.resolution == 16  # 8 px of latents, factor 2

    plain = load_base(base)
    add_lora(plain.unet, 4, 16, DEFAULT_TARGETS)
    load_lora_state(plain.unet, lora_state(tiny_generator.unet))
    merge_lora(plain.unet)
    source = released.load_released_embedder(
        folder / "associate_2.ckpt", folder / "embedding_change_weights.pth"
    )
    with torch.no_grad():
        expected = OneStepGenerator(plain, source).eval()(IMAGES).image.clamp(-1, 1)
    close(found.restore(IMAGES).images, expected)


def test_compact_export_refers_to_the_vre(tiny_generator, base, fingerprint, tmp_path) -> None:
    embedder = tiny_generator.prompt_source.embedder
    save_vre(tmp_path / "vre", embedder.config, embedder.state_dict())
    facts = {"path": str(base), "fingerprint": fingerprint}
    save_restorer(tmp_path / "run", tiny_generator, LORA, facts, {"resolution": 16})
    compact_restorer(tmp_path / "run", tmp_path / "small", str(tmp_path / "vre"))
    assert not (tmp_path / "small" / "vre.safetensors").exists()
    written = json.loads((tmp_path / "small" / "config.json").read_text())
    assert written["format_version"] == 2 and written["vre"] == str(tmp_path / "vre")
    assert read_config(tmp_path / "small")["vre"] == embedder.config.to_dict()
    assert torch.equal(load_vre(tmp_path / "small").codebook, embedder.codebook)
    difference = (restored(tmp_path / "small") - restored(tmp_path / "run")).abs().max()
    assert 0 < difference < 5e-3  # LoRA in float16
    torch.nn.init.normal_(embedder.codebook)
    save_vre(tmp_path / "other", embedder.config, embedder.state_dict())
    with pytest.raises(UserError, match="another VRE"):
        compact_restorer(tmp_path / "run", tmp_path / "more", str(tmp_path / "other"))
    assert not (tmp_path / "more").exists()


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("gone", {}, "There is no gone"),
        ("empty", {}, "no folder of the released files"),
        ("text.ckpt", {}, "no checkpoint that can be read"),
        ("other.ckpt", {}, "no checkpoint of this framework"),
        ("stage1.ckpt", {}, "another experiment"),
        ("vre", {}, "holds only a VRE"),
        ("empty", {"vre": "x"}, "brings its own"),
    ],
)
def test_a_mistake_is_one_sentence(name, options, expected, base, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    torch.save({"x": torch.zeros(1)}, tmp_path / "other.ckpt")
    stage1 = {"state_dict": {"hq.weight": torch.zeros(1)}, "generator_step": 1, "config": {}}
    torch.save(stage1, tmp_path / "stage1.ckpt")
    small = VQConfig((8, 16), 1, 32, 16, 8)
    save_vre(tmp_path / "vre", small, VQAutoencoder(small).embedder_state())
    with pytest.raises(UserError, match=expected) as error:
        opening.open_restorer(name, base, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"text\n", b"a: 1\n", b"[]", b"\x80", b"<html>", b"0\n", b"]"])
def test_any_text_is_no_checkpoint(content, tmp_path) -> None:
    (tmp_path / "notes.ckpt").write_bytes(content)
    with pytest.raises(UserError, match=r"notes\.ckpt is no checkpoint"):
        load_pickle(tmp_path / "notes.ckpt")
