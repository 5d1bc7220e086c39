import pytest
import torch

from osdface.networks.discriminators import LatentDiscriminator, PatchDiscriminator


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


def test_no_batch_statistics(tiny_pair) -> None:
    def has_batch_norm(module: torch.nn.Module) -> bool:
        return any(isinstance(part, torch.nn.BatchNorm2d) for part in module.modules())

    assert not has_batch_norm(tiny_pair[1]) and not has_batch_norm(PatchDiscriminator())
    assert has_batch_norm(PatchDiscriminator(norm="batch"))


@pytest.mark.parametrize("layers", [2, 3])
def test_patch_logits(layers) -> None:
    logits = PatchDiscriminator(filters=16, layers=layers)(torch.randn(2, 3, 64, 64))
    assert logits.shape[:2] == (2, 1) and logits.shape[-1] == 64 // 2**layers - 2
