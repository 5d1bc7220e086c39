"""How stage 2 runs: memory, precision and compilation; none of it changes the method."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0
from torch import nn
from torch.utils.checkpoint import checkpoint

from osdface.errors import UserError
from osdface.losses import WeightedLosses
from osdface.networks.generator import OneStepGenerator

COMPILED_PARTS = ("unet", "vae", "discriminator", "regulariser", "losses")
FROZEN_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclass(frozen=True)
class Efficiency:
    """Switches of a stage-2 step; all off or plain by default, as a test or a library user has it.

    Attributes:
        checkpoint_unet: Recompute the blocks of the UNet, and of critics made of it, in the
            backward pass.
        checkpoint_decoder: The same for the VAE decoder, through which the image losses pass, and
            for the encoder where it is trained.
        channels_last: NHWC memory for all convolutions.
        compile: Which of ``COMPILED_PARTS`` torch.compile takes.
        attention: "sdpa" (fused kernels where the device has them) or "plain" (written out).
        frozen_dtype: Storage of the frozen linear and convolution weights of UNet and VAE: one of
            ``FROZEN_DTYPES``. Less than float32 needs autocast, which casts these weights in any
            case: bfloat16 under bf16 autocast changes no number.
        fused_adam: AdamW in one kernel.
        share_encodes: LQ and HQ pass the VAE encoder as one batch.
    """

    checkpoint_unet: bool = False
    checkpoint_decoder: bool = False
    channels_last: bool = False
    compile: tuple[str, ...] = ()
    attention: str = "sdpa"
    frozen_dtype: str = "float32"
    fused_adam: bool = False
    share_encodes: bool = True

    def __post_init__(self) -> None:
        _choice("compile", self.compile, COMPILED_PARTS)
        _choice("attention", [self.attention], ("sdpa", "plain"))
        _choice("frozen_dtype", [self.frozen_dtype], FROZEN_DTYPES)


def _choice(name: str, found: Iterable[str], known: Iterable[str]) -> None:
    for each in found:
        if each not in known:
            raise UserError(f"efficiency.{name} knows {', '.join(known)}, not {each!r}.")


def apply_efficiency(
    settings: Efficiency,
    generator: OneStepGenerator,
    losses: WeightedLosses | None = None,
    discriminator: nn.Module | None = None,
    keep_graph: bool = False,
    regulariser: nn.Module | None = None,
) -> None:
    """Sets up the networks of stage 2 in place; call it after LoRA was added.

    Names of parameters and exports stay as they are. ``fused_adam`` and ``share_encodes`` are the
    training module's.

    Args:
        settings: The switches.
        generator: With its LoRA.
        losses: Of the restored images.
        discriminator: Of stage 2; it may share the UNet's frozen weights and goes on doing so.
        keep_graph: Whether a step will pass its graph several times, as the latent's gradient norms
            do: compiled parts then keep their buffers.
        regulariser: Of score distillation, which shares them likewise.

    Raises:
        UserError: ``compile`` was asked for where torch.compile has no compiler to work with.
    """
    vae = generator.codec.vae
    if settings.checkpoint_unet:
        for part in (generator.unet, discriminator, regulariser):
            if part is not None:
                recompute(part)
    if settings.checkpoint_decoder:
        recompute(vae if generator.codec.adapted else vae.decoder)
    # The critics' frozen weights are the UNet's, or they have none.
    for network in (generator.unet, vae, regulariser):
        if settings.frozen_dtype != "float32" and network is not None:
            store_frozen(network, FROZEN_DTYPES[settings.frozen_dtype])
    for part in (generator, discriminator, regulariser, losses):
        if part is not None:
            _set_attention(part, settings.attention)
            if settings.channels_last:
                part.to(memory_format=torch.channels_last)
    if settings.compile:
        _compile(settings.compile, generator, losses, discriminator, regulariser)
        if keep_graph:
            torch._functorch.config.donated_buffer = False  # type: ignore[attr-defined]


def recompute(network: nn.Module) -> None:
    """Switches on gradient checkpointing in all diffusers blocks of a network that know it.

    As ``enable_gradient_checkpointing`` of a whole diffusers model does, but for parts of one too.
    """
    module: Any
    for module in network.modules():
        if hasattr(module, "gradient_checkpointing"):
            module._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
            module.gradient_checkpointing = True


def store_frozen(network: nn.Module, dtype: torch.dtype) -> None:
    """Stores the frozen weights that autocast casts anyway, those of linear and convolution layers.

    Norms stay in float32, since autocast computes them so; trainable parameters stay as they are.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            for parameter in module.parameters(recurse=False):
                if not parameter.requires_grad:
                    parameter.data = parameter.data.to(dtype)


def _set_attention(network: nn.Module, kind: str) -> None:
    for module in network.modules():
        if isinstance(module, Attention):
            module.set_processor(AttnProcessor2_0() if kind == "sdpa" else AttnProcessor())


def _compile(
    parts: Iterable[str],
    generator: OneStepGenerator,
    losses: WeightedLosses | None,
    discriminator: nn.Module | None,
    regulariser: Any,
) -> None:
    if not torch.cuda.is_available() and not any(map(shutil.which, ("g++", "clang++", "c++"))):
        raise UserError(
            "efficiency.compile on a CPU needs a C++ compiler, such as g++: install one or leave "
            "the option out."
        )
    vae = generator.codec.vae
    networks: dict[str, list[nn.Module | None]] = {
        "unet": [generator.unet],
        "vae": [vae.encoder, vae.decoder],
        "discriminator": [discriminator],
        "regulariser": [None if regulariser is None else regulariser.unet],
        "losses": list(losses.losses.values()) if losses is not None else [],
    }
    for part in parts:
        for network in networks[part]:
            if network is not None:
                network.compile()  # in place: no name of a parameter changes
