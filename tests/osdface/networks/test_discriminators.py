import pytest
import torch

from osdface.errors import UserError
from osdface.networks.discriminators import (
    DISCRIMINATORS,
    LatentDiscriminator,
    PatchDiscriminator,
    build_latent_discriminator,
)


def test_base_weights_are_shared_not_copied(tiny_pair) -> None:
    generator, discriminator = tiny_pair
    own = {id(p) for p in generator.unet.parameters() if not p.requires_grad}
    frozen = [p for p in discriminator.parameters() if not p.requires_grad]
    assert frozen and all(id(parameter) in own for parameter in frozen)


def test_features_equal_the_unets_own_middle_block(tiny_base) -> None:
    """With LoRA at zero the encoder is the UNet's: captured by a hook in the UNet itself."""
    discriminator = LatentDiscriminator(tiny_base.unet, rank=4, alpha=4, head_width=16)
    captured = []
    tiny_base.unet.mid_block.register_forward_hook(lambda m, i, out: captured.append(out))
    latent, prompt = torch.randn(2, 4, 8, 8), torch.randn(2, 7, 12)
    timestep = torch.tensor([3, 700])
    tiny_base.unet(latent, timestep, encoder_hidden_states=prompt)
    found = discriminator.encoder(latent, timestep, prompt)
    torch.testing.assert_close(found, captured[0])


def test_gradients_reach_exactly_lora_and_head(tiny_pair) -> None:
    _, discriminator = tiny_pair
    logits = discriminator(torch.randn(2, 4, 8, 8), torch.tensor([1, 2]), torch.randn(2, 7, 12))
    logits.square().mean().backward()
    trained = {n for n, p in discriminator.named_parameters() if p.requires_grad}
    assert all("lora_" in name or name.startswith("head.") for name in trained)
    touched = {n for n, p in discriminator.named_parameters() if p.grad is not None}
    assert touched == trained


def test_unconditioned_ignores_the_prompt(tiny_base) -> None:
    discriminator = LatentDiscriminator(tiny_base.unet, 4, 4, 16, conditioned=False)
    latent, timestep = torch.randn(1, 4, 8, 8), torch.tensor([5])
    first = discriminator(latent, timestep, torch.randn(1, 7, 12))
    second = discriminator(latent, timestep, torch.randn(1, 7, 12))
    torch.testing.assert_close(first, second)


def has_batch_norm(module: torch.nn.Module) -> bool:
    kinds = torch.nn.modules.batchnorm._BatchNorm
    return any(isinstance(part, kinds) for part in module.modules())


def test_no_batch_statistics() -> None:
    assert not has_batch_norm(PatchDiscriminator())
    assert has_batch_norm(PatchDiscriminator(norm="batch"))


@pytest.mark.parametrize("kind", DISCRIMINATORS)
def test_each_kind_sees_what_its_name_says(tiny_base, kind) -> None:
    torch.manual_seed(0)
    discriminator = build_latent_discriminator(kind, tiny_base.unet, 4, 4, 16, 8, 1).double()
    assert not has_batch_norm(discriminator)
    latent, prompt = torch.randn(2, 4, 8, 8).double(), torch.randn(2, 7, 12).double()
    timestep = torch.tensor([3, 700])
    logits = discriminator(latent, timestep, prompt)
    assert logits.shape[:2] == (2, 1)
    assert not torch.allclose(logits, discriminator(latent + 1, timestep, prompt))
    for part, others in (
        ("prompt", (latent, timestep, prompt + 1)),
        ("noise_level", (latent, timestep + 200, prompt)),
    ):
        sees = kind in ("unet", f"unet_{part}")
        assert torch.equal(logits, discriminator(*others)) != sees, part
    # One picture's logits do not depend on its neighbours.
    alone = discriminator(latent[:1], timestep[:1], prompt[:1])
    torch.testing.assert_close(alone, logits[:1])


def test_mistakes_are_sentences(tiny_base) -> None:
    with pytest.raises(UserError, match="no discriminator 'unets'"):
        build_latent_discriminator("unets", tiny_base.unet)
    for width in (3, 13, 132):
        with pytest.raises(UserError, match=f"multiple of 32, not {width}"):
            build_latent_discriminator("unet", tiny_base.unet, 4, 4, width)
    with pytest.raises(UserError, match="multiple of 8, not 12"):
        build_latent_discriminator("patch", tiny_base.unet, filters=12)
    discriminator = build_latent_discriminator("patch", tiny_base.unet, filters=8, layers=2)
    assert discriminator(torch.randn(1, 4, 12, 12), None, None).shape == (1, 1, 1, 1)
    with pytest.raises(UserError, match="2 layers needs latents of 12 a side, not 11"):
        discriminator(torch.randn(1, 4, 11, 11), None, None)


@pytest.mark.parametrize("layers", [2, 3])
def test_patch_logits(layers) -> None:
    logits = PatchDiscriminator(filters=16, layers=layers)(torch.randn(2, 3, 64, 64))
    assert logits.shape[:2] == (2, 1) and logits.shape[-1] == 64 // 2**layers - 2
