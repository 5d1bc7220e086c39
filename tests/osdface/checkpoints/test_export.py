import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from osdface.checkpoints.export import load_vre, read_config, save_restorer
from osdface.errors import UserError
from osdface.networks.lora import load_lora_state, lora_state

LORA = {"rank": 4, "alpha": 4, "targets": ["to_q"]}


@pytest.fixture
def export(tiny_generator, tmp_path):
    base = {"path": "somewhere", "fingerprint": "abc"}
    save_restorer(tmp_path / "export", tiny_generator, LORA, base, {"scale": "test"})
    return tmp_path / "export"


def test_folder_holds_the_four_files(export) -> None:
    assert {path.name for path in export.iterdir()} == {
        "config.json",
        "vre.safetensors",
        "prompt_convs.safetensors",
        "pytorch_lora_weights.safetensors",
    }
    config = read_config(export, "osdface")
    assert config["format_version"] == 1 and config["base"]["fingerprint"] == "abc"


def test_lora_and_vre_come_back_bit_for_bit(export, tiny_generator) -> None:
    state = lora_state(tiny_generator.unet)
    saved = load_file(export / "pytorch_lora_weights.safetensors")
    assert saved.keys() == state.keys()
    lq = torch.rand(2, 3, 16, 16) * 2 - 1
    before = tiny_generator(lq).image
    with torch.no_grad():
        for name, parameter in tiny_generator.unet.named_parameters():
            if "lora_" in name:
                parameter.zero_()
    load_lora_state(tiny_generator.unet, saved)
    torch.testing.assert_close(tiny_generator(lq).image, before, rtol=0, atol=0)
    own = tiny_generator.prompt_source.embedder
    torch.testing.assert_close(load_vre(export, 7)(lq), own(lq), rtol=0, atol=0)


def test_wrong_rank_is_a_sentence(export, tiny_generator) -> None:
    state = load_file(export / "pytorch_lora_weights.safetensors")
    half = {key: v[:2] if "lora_A" in key else v[:, :2] for key, v in state.items()}
    with pytest.raises(UserError, match="rank"):
        load_lora_state(tiny_generator.unet, half)
    key = next(iter(state))
    state.pop(key)
    with pytest.raises(UserError, match="lacks tensor"):
        load_lora_state(tiny_generator.unet, state)


def test_other_folders_are_refused_by_a_sentence(export, tmp_path) -> None:
    with pytest.raises(UserError, match=r"no config\.json"):
        read_config(tmp_path)
    config = json.loads((export / "config.json").read_text())
    (export / "config.json").write_text(json.dumps(config | {"format_version": 99}))
    with pytest.raises(UserError, match="update osdface"):
        read_config(export)
    (export / "config.json").write_text(json.dumps(config | {"kind": "vre"}))
    with pytest.raises(UserError, match="only a VRE"):
        read_config(export, "osdface")
    state = load_file(export / "vre.safetensors")
    state.pop("codebook")
    save_file(state, export / "vre.safetensors")
    with pytest.raises(UserError, match="codebook"):
        load_vre(export, 7)
    (export / "vre.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match="no safetensors file"):
        load_vre(export, 7)
