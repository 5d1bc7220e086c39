"""``init_from=`` of stage 2: training goes on from released files or from an export."""

import json

import pytest
import torch
from safetensors.torch import save_file

from datamodules.portraits import render_portrait
from experiments.cli.compose import compose_words
from experiments.convert import main as convert
from experiments.pipelines.build import open_base
from experiments.pipelines.initial import initial_folder, started_from
from experiments.pipelines.stage2 import build_module
from osdface import Restorer
from osdface.checkpoints.export import load_tensors
from osdface.checkpoints.initial import load_initial
from osdface.checkpoints.released import load_released_dictionary
from osdface.paths import assets_dir


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """The shipped restorer in the layout of the three released files."""
    folder = tmp_path_factory.mktemp("init") / "released"
    assert convert(["input=tiny", f"output={folder}", "to=released"]) == 0
    return folder


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    pictures = [render_portrait(7, identity, 0, 64).image for identity in (1, 2)]
    images = torch.stack([torch.from_numpy(each) for each in pictures]).permute(0, 3, 1, 2)
    small = torch.nn.functional.interpolate(images / 127.5 - 1, scale_factor=0.25)
    return torch.nn.functional.interpolate(small, size=64, mode="bilinear")


@pytest.mark.parametrize("layout", ["released", "export"])
def test_step_zero_restores_as_the_restorer_does(layout, released, faces) -> None:
    start = released if layout == "released" else "shipped:restorer"
    words = {"experiment": "osdface", "init_from": str(start), "losses.gan": "0.5"}
    cfg = started_from(compose_words(words)[0])
    base = open_base(cfg)
    module = build_module(cfg, base)
    folder = initial_folder(cfg)
    load_initial(folder, module.generator, base.fingerprint)
    with torch.no_grad():
        image = module.generator.eval()(faces).image
    path = released if layout == "released" else "tiny"
    restorer = Restorer.from_pretrained(path, device="cpu", base="shipped:base")
    expected = restorer.restore(faces).images
    assert (expected - faces).abs().max() > 0.2
    torch.testing.assert_close(image.clamp(-1, 1), expected, atol=1e-4, rtol=0)


def test_a_run_goes_on_from_released_files_and_back(
    released, run_fast, tmp_path, faces, capsys
) -> None:
    run = tmp_path / "run"
    assert run_fast("osdface", run, init_from=released) == 0
    assert "Stage 1" not in capsys.readouterr().out  # the VRE is that of the released files
    found = Restorer.from_pretrained(run / "export", device="cpu").restore(faces).images
    last = Restorer.from_pretrained(run / "checkpoints" / "last.ckpt", device="cpu")
    torch.testing.assert_close(last.restore(faces).images, found, atol=1e-4, rtol=0)
    start = Restorer.from_pretrained(released, device="cpu", base="shipped:base")
    moved = (start.restore(faces).images - found).abs().mean()
    assert 0 < moved < 0.1  # two steps away from where it began
    facts = json.loads((run / "export" / "config.json").read_text())
    assert facts["lora"]["targets"] == sorted(facts["lora"]["targets"])
    # The same words with the checkpoint score it; an export goes back to released files.
    assert run_fast(
        "osdface", tmp_path / "scores", init_from=released, mode="validate",
        checkpoint=run / "checkpoints" / "last.ckpt",
    ) == 0  # fmt: skip
    scores = {}
    for name, path in (("export", run / "export"), ("released", released)):
        words = {"mode": "validate", "checkpoint": path}
        assert run_fast("osdface", tmp_path / name, **words) == 0
        scores[name] = json.loads((tmp_path / name / "metrics.json").read_text())
    trained = json.loads((run / "metrics.json").read_text())
    assert scores["export"] == pytest.approx(trained, rel=1e-3)
    assert abs(scores["released"]["psnr"] - trained["psnr"]) > 1e-3  # other weights
    again = tmp_path / "again"
    assert convert([f"input={run / 'export'}", f"output={again}", "to=released"]) == 0
    back = Restorer.from_pretrained(again, device="cpu", base="shipped:base").restore(faces)
    torch.testing.assert_close(back.images, found, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"init_from": "/gone"}, "init_from=/gone is not there"),
        ({"scale.stage2.lora_rank": 8}, "set scale.stage2.lora_rank=16"),
        ({"scale.stage2.lora_alpha": 8}, "set scale.stage2.lora_alpha=16"),
        ({"scale.stage2.lora_targets": "[to_q]"}, "leave scale.stage2.lora_targets= out"),
        ({"scale.stage2.timestep": 100}, "set scale.stage2.timestep=399"),
        ({"vre.kind": "learned_prompt"}, "set vre.kind=distinct"),
        ({"vre.checkpoint": "shipped:vre"}, "leave vre.checkpoint="),
        ({"scale.vre.prompt_hidden_dim": 32}, "conv1.weight has shape"),
    ],
)
def test_what_contradicts_the_weights_is_one_sentence(
    changes, told, released, run_fast, tmp_path, capsys
) -> None:
    assert run_fast("osdface", tmp_path / "run", **({"init_from": released} | changes)) == 2
    # Before it there may be the bar of portraits that are drawn once for all tests.
    error = capsys.readouterr().err.splitlines()[-1]
    assert told in error and error.startswith("error: ")


def test_decoders_and_the_hq_twin_come_from_a_stage_1(released, tmp_path, capsys) -> None:
    whole = tmp_path / "whole"
    words = ["input=tiny", f"output={whole}", "to=released"]
    assert convert([*words, "dictionaries=shipped:vre"]) == 0
    assert "holds the VRE alone" not in capsys.readouterr().out
    # The tensors that the VRE consists of are the same bits as in the file that has only them.
    half, full = (
        torch.load(folder / "associate_2.ckpt", weights_only=True)["state_dict"]
        for folder in (released, whole)
    )
    assert all(torch.equal(full[name], value) for name, value in half.items())
    more = full.keys() - half.keys()
    assert {name.split(".")[0] for name in more} == {"vqvae", "vqvae_LQ"}
    assert all(".decoder." in n or ".post_quant" in n for n in more if n.startswith("vqvae_LQ."))
    wanted = load_tensors(assets_dir() / "vre" / "dictionary_hq.safetensors")
    found = load_released_dictionary(whole / "associate_2.ckpt", "hq").state_dict()
    for name, value in wanted.items():
        if name in found and "idle" not in name:
            assert torch.equal(found[name], value.float()), name
    other = tmp_path / "other"
    other.mkdir()
    for name in ("hq", "lq"):
        save_file(
            {key: value.float() + 0.1 for key, value in wanted.items()},
            other / f"dictionary_{name}.safetensors",
        )
    words[1] = f"output={tmp_path / 'no'}"
    assert convert([*words, f"dictionaries={other}"]) == 2
    assert "another VRE" in capsys.readouterr().err and not (tmp_path / "no").exists()


def test_the_converting_command_tells_its_mistakes(released, tmp_path, capsys) -> None:
    cases = {
        (f"input={released}", f"output={released}", "to=export"): "is there already",
        (f"input={released}", f"output={tmp_path / 'x'}", "to=zip"): "to=zip is unknown",
        (f"input={released}", f"output={tmp_path / 'x'}", "to=export"): "need base=FOLDER",
        (f"input={tmp_path}", f"output={tmp_path / 'x'}", "to=export"): "no export folder",
        (f"input={released}", "to=export"): "output=... is missing",
        ("input=tiny", f"output={tmp_path / 'x'}", "to=released", "base=b"): "belongs to to=export",
    }
    for words, told in cases.items():
        assert convert(list(words)) == 2
        error = capsys.readouterr().err
        assert told in error and error.count("\n") == 1, error
    assert not (tmp_path / "x").exists()
