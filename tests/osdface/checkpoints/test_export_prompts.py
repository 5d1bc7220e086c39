"""The export folder of every kind of prompt, and those of before there were kinds."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from osdface.checkpoints.export import (
    load_prompt_source,
    load_restorer,
    load_vre,
    read_config,
    save_restorer,
)
from osdface.errors import UserError
from osdface.networks.prompts import KINDS, VISUAL_KINDS
from tests.osdface.networks.test_prompts import build

LORA = {"rank": 4, "alpha": 4, "targets": ["to_q"]}
BASE = {"path": "somewhere", "fingerprint": "abc"}


def images() -> torch.Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def edit_config(folder, change) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_comes_back_bit_for_bit(kind, tiny_generator, tmp_path) -> None:
    tiny_generator.prompt_source = source = build(kind).eval()
    save_restorer(tmp_path, tiny_generator, LORA, BASE)
    config = read_config(tmp_path, "osdface")
    assert config["prompt"]["kind"] == kind and ("vre" in config) == (kind in VISUAL_KINDS)
    expected, image = source(images()), tiny_generator(images()).image
    torch.testing.assert_close(load_prompt_source(tmp_path)(images()), expected, rtol=0, atol=0)
    # Into a generator of other weights.
    for tensor in source.state_dict().values():
        tensor.add_(1)
    load_restorer(tmp_path, tiny_generator)
    torch.testing.assert_close(tiny_generator(images()).image, image, rtol=0, atol=0)


def test_duplicates_without_trained_tensors(tiny_generator, tmp_path) -> None:
    """At the paper's size: nothing but the VRE stands in the folder."""
    tiny_generator.prompt_source = source = build("duplicates", prompt_dim=32).eval()
    save_restorer(tmp_path, tiny_generator, LORA, BASE)
    edit_config(tmp_path, lambda config: config["prompt"].update(prompt_dim=32))
    torch.testing.assert_close(load_prompt_source(tmp_path)(images()), source(images()))


def test_a_folder_of_before_is_distinct(tiny_generator, tmp_path) -> None:
    save_restorer(tmp_path, tiny_generator, LORA, BASE)
    edit_config(tmp_path, lambda config: config.update(prompt={"count": 7, "hidden_dim": 8}))
    source = load_prompt_source(tmp_path)
    torch.testing.assert_close(source(images()), tiny_generator.prompt_source(images()))
    assert load_restorer(tmp_path, tiny_generator) is tiny_generator


def test_what_does_not_fit_is_a_sentence(tiny_generator, tmp_path) -> None:
    tiny_generator.prompt_source = build("position_code")
    save_restorer(tmp_path, tiny_generator, LORA, BASE)
    tiny_generator.prompt_source = build("distinct")
    with pytest.raises(UserError, match=r"set vre\.kind=position_code"):
        load_restorer(tmp_path, tiny_generator)
    tiny_generator.prompt_source = build("position_code", count=9)
    assert load_restorer(tmp_path, tiny_generator).prompt_source.embedder.count == 7
    state = load_file(tmp_path / "prompt.safetensors")
    state.pop("convs.conv1.bias")
    save_file(state, tmp_path / "prompt.safetensors")
    with pytest.raises(UserError, match=r"convs\.conv1\.bias"):
        load_prompt_source(tmp_path)
    edit_config(tmp_path, lambda config: config["prompt"].update(kind="telepathy"))
    with pytest.raises(UserError, match="telepathy"):
        load_prompt_source(tmp_path)


def test_an_export_without_vre_says_so(tiny_generator, tmp_path) -> None:
    tiny_generator.prompt_source = build("none")
    save_restorer(tmp_path, tiny_generator, LORA, BASE)
    assert not (tmp_path / "vre.safetensors").exists()
    with pytest.raises(UserError, match="holds no VRE"):
        load_vre(tmp_path)
