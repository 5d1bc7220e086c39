"""A merged restorer in one folder, with whatever schedule its base has."""

import pytest
import torch
from diffusers import DDPMScheduler

from osdface.checkpoints.merged import save_merged
from osdface.checkpoints.opening import open_restorer
from osdface.networks.base import SD_SCHEDULE, DiffusionBase, alphas_cumprod, load_base, save_base
from osdface.networks.lora import merge_lora
from osdface.networks.prompts import KINDS, build_prompt_source

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("kind", KINDS)
def test_gives_the_same_with_every_prompt(kind, tiny_generator, tmp_path) -> None:
    merge_lora(tiny_generator.unet)
    embedder, text = tiny_generator.prompt_source.embedder, torch.rand(4, 12)
    source = build_prompt_source(kind, 12, embedder, hidden_dim=8, heads=2, text=text)
    tiny_generator.prompt_source = source
    save_merged(tmp_path / "merged", tiny_generator.eval(), 16)
    found, resolution = open_restorer(tmp_path / "merged")
    assert resolution == 16
    with torch.no_grad():
        expected = tiny_generator(IMAGES).image
        torch.testing.assert_close(found(IMAGES).image, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("schedule", ["scaled_linear", "linear"])
def test_a_base_keeps_its_schedule(schedule, tiny_base, tmp_path) -> None:
    scheduler = DDPMScheduler(**(SD_SCHEDULE | {"beta_schedule": schedule}))
    own = alphas_cumprod(scheduler)
    base = DiffusionBase(tiny_base.unet, tiny_base.codec, own, "")
    save_base(base, tmp_path / "base")
    found = load_base(tmp_path / "base").alphas_cumprod
    torch.testing.assert_close(found, own, atol=0 if schedule == "scaled_linear" else 1e-6, rtol=0)
