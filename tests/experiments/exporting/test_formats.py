"""Each format: what the command writes runs by the snippet on its card, and gives the same."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.export import main
from experiments.exporting.facts import gather
from osdface import Restorer
from osdface.files import read_json, write_json
from osdface.run_folder import write_status

IMAGES = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
FORMATS = ("onnx", "torch_export", "safetensors")


@pytest.fixture(scope="module")
def made(run_dir, tmp_path_factory) -> Path:
    """A folder with one export of each format."""
    folder = tmp_path_factory.mktemp("exports")
    for kind in FORMATS:
        words = [f"checkpoint={run_dir / 'export'}", f"format={kind}", f"output={folder / kind}"]
        assert main(words) == 0
    return folder


@pytest.fixture(scope="module")
def expected(run_dir) -> torch.Tensor:
    return Restorer.from_pretrained(run_dir / "export", device="cpu").restore(IMAGES).images


def card(folder: Path) -> str:
    return (folder / "README.md").read_text("utf-8")


def snippet(folder: Path) -> str:
    (found,) = re.findall(r"^```python\n(.*?)^```$", card(folder), re.M | re.S)
    return found


def ran(folder: Path, monkeypatch) -> dict[str, Any]:
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(compile(snippet(folder), f"{folder.name} card", "exec"), names)
    assert tuple(names["restored"].shape) == (2, 3, 16, 16)
    assert str(names["result"].dtype).endswith("uint8")
    return names


def close(found: Any, expected: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(torch.as_tensor(found), expected, atol=tolerance, rtol=0)


def test_onnx(made, expected, monkeypatch) -> None:
    session = ran(made / "onnx", monkeypatch)["session"]
    (images,) = session.get_inputs()
    assert images.name == "images" and images.shape[1:] == [3, 16, 16]
    assert isinstance(images.shape[0], str)  # any batch
    for count in (1, 2, 5):
        (found,) = session.run(["restored"], {"images": IMAGES[:count].numpy()})
        close(found, expected[:count], 1e-3)


def test_torch_export_needs_torch_alone(made, expected, tmp_path) -> None:
    torch.save((IMAGES, expected), tmp_path / "pair.pt")
    code = f"""
import sys
for name in ("osdface", "diffusers", "peft", "transformers", "safetensors"):
    sys.modules[name] = None  # importing it is an error
{snippet(made / "torch_export")}
images, expected = torch.load({str(tmp_path / "pair.pt")!r})
with torch.no_grad():
    print(*(float((restorer(images[:n]) - expected[:n]).abs().max()) for n in (1, 2, 5)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=made / "torch_export", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    differences = list(map(float, done.stdout.split()))
    assert len(differences) == 3 and max(differences) < 1e-4


def test_safetensors_is_a_restorer_and_a_base_of_diffusers(made, expected, monkeypatch) -> None:
    ran(made / "safetensors", monkeypatch)
    restorer = Restorer.from_pretrained(made / "safetensors", device="cpu")
    close(restorer.restore(IMAGES).images, expected, 1e-4)
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(made / "safetensors" / "base" / "unet")
    state = restorer.generator.unet.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in unet.state_dict().items())


def test_an_export_can_be_exported_again_and_remembers(made, tmp_path) -> None:
    words = [f"checkpoint={made / 'safetensors'}", "format=safetensors", "output=again"]
    assert main(words) == 0
    first, again = card(made / "safetensors"), card(tmp_path / "again")
    assert re.sub(r"drawn portraits: \S+", "", first) == re.sub(r"drawn portraits: \S+", "", again)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_card_says_what_it_is_and_names_no_folder_of_ours(kind, made, run_dir) -> None:
    text = card(made / kind)
    for told in (
        "| variant | no_gan |", "| loss weights | mse 1, identity 0.3 |", "| steps | 7 |",
        "| root | faces |", "| preset | waveface |", "| psnr | 21.5 | mean over images |",
        "cosine by tiny_b (stand-in)", "- tiny_a (in the identity loss)", "`private base`",
        "Open RAIL++-M", "FFHQ is CC BY-NC-SA", "an estimate, not evidence", "(B, 3, 16, 16)",
    ):  # fmt: skip
        assert told in text
    assert "vgg16" not in text.split("## Stand-ins")[1]
    whole = text + (made / kind / "config.json").read_text("utf-8")
    assert str(run_dir) not in whole and "/somebody" not in whole
    assert read_json(made / kind / "config.json")["format_version"] == 3


def test_a_checkpoint_of_a_run(run_dir, capsys) -> None:
    words = [f"checkpoint={run_dir / 'checkpoints/last.ckpt'}", "format=safetensors", "output=out"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("parity ") and float(lines[1].split()[1].rstrip(",")) < 1e-4
    text = card(Path("out"))
    assert "checkpoint last.ckpt of step 7" in text and "| psnr | 21.5 |" in text


def test_figures_of_another_step_are_not_told(run_dir, tmp_path) -> None:
    """The last validation's belong to the last weights, best.json to the best."""
    checkpoints = tmp_path / "run" / "checkpoints"
    shutil.copytree(run_dir / "checkpoints", checkpoints)
    write_json(tmp_path / "run" / "metrics.json", {"psnr": 30.0})
    write_status(tmp_path / "run", "running", step=9)
    assert gather(str(checkpoints / "last.ckpt")).figures == {}
    write_json(checkpoints / "best.json", {"metric": "perceptual", "value": 0.25, "step": 7})
    assert gather(str(checkpoints / "last.ckpt")).figures == {"perceptual": 0.25}
    assert gather(str(run_dir / "checkpoints/last.ckpt")).figures["psnr"] == 21.5


def test_an_export_that_was_moved_knows_only_itself(run_dir, tmp_path) -> None:
    shutil.copytree(run_dir / "export", tmp_path / "mine")
    (tmp_path / "config.yaml").write_text("variant: of somebody else")
    facts = gather(str(tmp_path / "mine"))
    assert "variant" not in facts.training and facts.data == {}
    assert facts.figures["psnr"] == 21.5 and facts.base == "private base"
    assert facts.stand_ins is None and facts.specification == {}


def test_steps_are_those_of_the_weights(run_dir, tmp_path) -> None:
    """A budget of images or seconds makes them others than those of the configuration."""
    shutil.copytree(run_dir, tmp_path / "run")
    write_status(tmp_path / "run", "finished", step=5)
    assert gather(str(tmp_path / "run/export")).training["steps"] == 5
    assert gather(str(tmp_path / "run/checkpoints/last.ckpt")).training["steps"] == 7


def test_signed_addresses_and_commands_are_not_told(run_dir, tmp_path) -> None:
    whole = tmp_path / "run"
    shutil.copytree(run_dir, whole)
    file = whole / "checkpoints" / "last.ckpt"
    state = torch.load(file, weights_only=True)
    urls = "https://me:secret@host/a/train-0.tar?sig=secret::pipe:get --key secret"
    state["config"]["data"] |= {"urls": urls}
    torch.save(state, file)
    facts = gather(str(file))
    assert facts.data["urls"] == "train-0.tar::pipe" and facts.data["root"] == "faces"
