import copy

import torch

from osdface.networks.generator import diffuse, predicted_original
from osdface.networks.lora import lora_state, merge_lora


def images(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_predicted_original_inverts_diffusion_in_float64() -> None:
    latent, noise = torch.randn(2, 4, 3, 3).double(), torch.randn(2, 4, 3, 3).double()
    alpha = torch.tensor(0.2763, dtype=torch.float64)
    noisy = diffuse(latent, noise, alpha.expand(2))
    torch.testing.assert_close(predicted_original(noisy, noise, alpha), latent)


def test_bfloat16_inputs_are_divided_in_float32() -> None:
    latent, noise = torch.randn(1, 4, 2, 2).bfloat16(), torch.randn(1, 4, 2, 2).bfloat16()
    alpha = torch.tensor(0.2763, dtype=torch.float64)
    out = predicted_original(latent, noise, alpha)
    assert out.dtype == torch.float32
    expected = (latent.double() - (1 - alpha).sqrt() * noise.double()) / alpha.sqrt()
    torch.testing.assert_close(out.double(), expected, atol=1e-6, rtol=1e-6)


def test_one_step_equals_its_equation(tiny_generator) -> None:
    lq = images()
    out = tiny_generator(lq)
    vae, unet = tiny_generator.codec.vae, tiny_generator.unet
    scale = vae.config.scaling_factor
    latent = vae.encode(lq).latent_dist.mode() * scale
    noise = unet(latent, 399, encoder_hidden_states=tiny_generator.prompt_source(lq)).sample
    a = float(tiny_generator.alphas_cumprod[399])
    restored = (latent - (1 - a) ** 0.5 * noise) / a**0.5
    torch.testing.assert_close(out.latent, restored)
    torch.testing.assert_close(out.image, vae.decode(restored / scale).sample)


def test_gradients_reach_exactly_lora_and_prompt_convolutions(tiny_generator) -> None:
    tiny_generator(images()).image.square().mean().backward()
    for name, parameter in tiny_generator.named_parameters():
        trained = "lora_" in name or ".convs." in name
        assert parameter.requires_grad == trained, name
        assert (parameter.grad is not None) == trained, name
        if trained:
            assert parameter.grad.abs().sum() > 0, name


def test_merged_lora_gives_the_same_image(tiny_generator) -> None:
    before = tiny_generator.eval()(images()).image
    merged = copy.deepcopy(tiny_generator)
    merge_lora(merged.unet)
    assert not any("lora" in name for name, _ in merged.named_parameters())
    torch.testing.assert_close(merged(images()).image, before, atol=1e-5, rtol=1e-5)


def test_lora_state_has_the_pipeline_form(tiny_generator) -> None:
    state = lora_state(tiny_generator.unet)
    assert all(
        key.startswith("unet.") and key.endswith((".lora_A.weight", ".lora_B.weight"))
        for key in state
    )
    kinds = {value.dim() for value in state.values()}
    assert kinds == {2, 4}  # linear and convolution layers


def test_an_image_does_not_depend_on_its_batch(tiny_generator) -> None:
    tiny_generator.eval()
    together = tiny_generator(images(3)).image
    alone = tiny_generator(images(3)[1:2]).image
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-5)
