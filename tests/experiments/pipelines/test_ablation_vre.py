"""The VRE ablation in two steps: what its variants share, what fails, what comes back."""

import csv
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from experiments.cli.compose import compose_words
from experiments.pipelines.build import open_base
from experiments.pipelines.prompts import stage1_config, text_prompt
from experiments.pipelines.stage2 import build_generator
from osdface.checkpoints.export import load_prompt_source
from osdface.errors import UserError
from osdface.files import read_json
from osdface.networks.embedder import PromptConvs
from osdface.networks.lora import lora_state
from osdface.networks.prompts import KINDS
from osdface.paths import assets_dir


def first_row(folder: Path) -> dict[str, str]:
    with open(folder / "metrics.csv", newline="") as file:
        return next(csv.DictReader(file))


def test_variants_start_alike_and_a_failed_one_is_a_row(run_fast, tmp_path) -> None:
    output = tmp_path / "o"
    changes = {
        "variants": "position_code,learned_prompt,text_prompt",
        "vre.text_prompt": "no_such_prompt.safetensors",
    }
    assert run_fast("ablation_vre", output, **changes) == 1
    table = (output / "ablation.csv").read_text()
    assert "position_code,finished" in table and "text_prompt,failed" in table
    assert "no_such_prompt" in (output / "ablation.md").read_text()
    assert not (output / "published.md").exists()
    # The same losses: only the prompt differs.
    rows = [first_row(output / name) for name in ("position_code", "learned_prompt")]
    assert rows[0].keys() == rows[1].keys() and "loss/gan/raw" in rows[0]
    states = [
        torch.load(output / name / "checkpoints/last.ckpt", weights_only=True)
        for name in ("position_code", "learned_prompt")
    ]
    assert all(each["config"]["logger"]["group"] == "ablation_vre" for each in states)
    assert states[1]["fingerprints"].keys() == {"base", "prompt"}
    assert load_prompt_source(output / "position_code/export").kind == "position_code"


def test_lora_and_convolutions_start_alike_with_every_prompt() -> None:
    states = {}
    for kind in KINDS:
        words = {"experiment": "osdface", "vre.kind": kind, "vre.checkpoint": "shipped:vre"}
        cfg, _ = compose_words(words)
        generator = build_generator(cfg, open_base(cfg))
        convs = getattr(generator.prompt_source, "convs", None)
        states[kind] = lora_state(generator.unet), convs
    expected, convs = states["distinct"]
    for kind, (found, own) in states.items():
        assert all(torch.equal(found[name], expected[name]) for name in expected), kind
        if isinstance(own, PromptConvs):
            assert torch.equal(own.conv1.weight, convs.conv1.weight)


def test_an_export_is_scored_as_what_it_is(run_fast, tmp_path) -> None:
    """Nothing on the command line says of which kind the prompt is."""
    changes = {"vre.kind": "attention_pooling", "vre.dictionary": "hq"}
    assert run_fast("osdface", tmp_path / "run", **changes) == 0
    export = tmp_path / "run" / "export"
    assert run_fast("osdface", tmp_path / "test", mode="test", checkpoint=export) == 0
    before, after = (read_json(tmp_path / f / "metrics.json") for f in ("run", "test"))
    assert before["psnr"] == pytest.approx(after["psnr"], abs=1e-4)


def test_a_checkpoint_of_another_prompt_is_refused(run_fast, tmp_path, capsys) -> None:
    assert run_fast("osdface", tmp_path / "run", **{"vre.kind": "none"}) == 0
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    changes = {"mode": "test", "checkpoint": checkpoint, "vre.kind": "text_prompt"}
    assert run_fast("osdface", tmp_path / "test", **changes) == 2
    assert "another prompt" in capsys.readouterr().err


def test_stage_1_without_association_is_the_scales() -> None:
    cfg, _ = compose_words({"experiment": "osdface", "vre.checkpoint": "a"})
    assert stage1_config(cfg) is cfg
    words = {"experiment": "osdface", "vre.checkpoint": "a", "vre.association": "false"}
    own = stage1_config(compose_words(words)[0])
    assert own.scale.stage1.association_steps == 0 and own.vre.checkpoint is None
    assert own.scale.vre.init_from is None  # the shipped dictionaries are associated
    assert own.scale.stage1.lq_steps == own.scale.no_association.lq_steps
    assert stage1_config(own) is own
    given = stage1_config(compose_words(words | {"vre.unassociated": "b"})[0])
    assert given.vre.checkpoint == "b"


def test_the_text_is_a_file_or_the_bases_empty_caption(tmp_path) -> None:
    words = {"experiment": "osdface", "vre.kind": "text_prompt"}
    caption = text_prompt(compose_words(words)[0], 64)
    assert caption.shape == (9, 64) and (assets_dir() / "base/caption").is_dir()
    file = tmp_path / "prompt.safetensors"
    cfg, _ = compose_words(words | {"vre.text_prompt": str(file)})
    for shape in ((77, 64), (1, 77, 64)):
        save_file({"prompt": torch.ones(shape).half()}, file)
        assert torch.equal(text_prompt(cfg, 64), torch.ones(77, 64))
    with pytest.raises(UserError, match=r"shape \(77, 64\)"):
        text_prompt(cfg, 1024)
    save_file({"other": torch.ones(2, 64)}, file)
    with pytest.raises(UserError, match="no tensor prompt"):
        text_prompt(cfg, 64)
    random, _ = compose_words(words | {"base.random": "true"})
    with pytest.raises(UserError, match="no caption of its own"):
        text_prompt(random, 64)


def test_a_missing_text_is_said_before_anything_is_drawn(run_fast, tmp_path, capsys) -> None:
    changes = {"vre.kind": "text_prompt", "vre.text_prompt": "gone", "cache_dir": tmp_path / "c"}
    assert run_fast("osdface", tmp_path / "o", **changes) == 2
    assert "'gone' was not found" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()
