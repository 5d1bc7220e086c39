"""The full size, counted on the meta device: nothing is allocated."""

import json

import pytest
import torch

from osdface.errors import UserError
from osdface.networks.autoencoder import VQAutoencoder, VQConfig
from osdface.networks.base import alphas_cumprod, build_base, load_base, save_base
from osdface.networks.embedder import PromptConvs, VisualRepresentationEmbedder


def millions(module: torch.nn.Module) -> float:
    return round(sum(p.numel() for p in module.parameters()) / 1e6, 6)


def test_parameter_counts_of_the_full_size() -> None:
    with torch.device("meta"):
        base = build_base()
        assert millions(base.unet) == 865.910724
        assert millions(base.codec) == 83.653863
        assert millions(PromptConvs()) == 0.394496
        assert millions(VisualRepresentationEmbedder(VQConfig())) == 29.169344
    assert base.prompt_dim == 1024 and base.codec.channels == 4 and base.codec.downsampling == 8


def test_token_grid_is_16_at_512() -> None:
    with torch.device("meta"):
        tokens = VQAutoencoder().tokens(torch.empty(1, 3, 512, 512))
    assert tokens.shape == (1, 512, 16, 16)


def test_schedule_is_stable_diffusions_formula(tiny_base) -> None:
    betas = [(0.00085**0.5 + (0.012**0.5 - 0.00085**0.5) * i / 999) ** 2 for i in range(1000)]
    product = 1.0
    for beta in betas[:400]:
        product *= 1 - beta
    assert abs(float(tiny_base.alphas_cumprod[399]) - product) < 1e-12


def test_saved_base_is_loaded_alike(tiny_base, tmp_path) -> None:
    save_base(tiny_base, tmp_path)
    loaded = load_base(tmp_path)
    for key, value in tiny_base.unet.state_dict().items():
        torch.testing.assert_close(loaded.unet.state_dict()[key], value)
    assert loaded.fingerprint == load_base(tmp_path).fingerprint != "random"


@pytest.mark.parametrize("part", ["unet/config.json", "scheduler/scheduler_config.json"])
def test_a_missing_part_is_named(tiny_base, tmp_path, part) -> None:
    save_base(tiny_base, tmp_path)
    (tmp_path / part).unlink()
    with pytest.raises(UserError, match=part.split("/")[0]):
        load_base(tmp_path)


def test_v_prediction_is_refused(tiny_base, tmp_path) -> None:
    save_base(tiny_base, tmp_path)
    path = tmp_path / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text()) | {"prediction_type": "v_prediction"}
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match="epsilon"):
        load_base(tmp_path)


def test_schedules_other_than_scaled_linear_are_taken_from_the_scheduler() -> None:
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(beta_schedule="linear")
    torch.testing.assert_close(alphas_cumprod(scheduler).float(), scheduler.alphas_cumprod)
