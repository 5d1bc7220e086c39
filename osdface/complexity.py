"""How much a one-step restorer holds and computes: parameters and multiply-accumulates by part."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from osdface.networks.adaptation import Adaptation, adapt
from osdface.networks.base import DiffusionBase
from osdface.networks.generator import OneStepGenerator
from osdface.networks.latents import LatentCodec
from osdface.networks.quantizer import squared_distances


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates of matrix products and convolutions; a MAC is two FLOPs.

    Attributes:
        total: All of them.
        attention: Those of the two products inside attention, queries with keys and weights with
            values, which many counting tools leave out.
    """

    total: int
    attention: int


@dataclass(frozen=True)
class Part:
    """One part of a restorer.

    Attributes:
        params: Its parameters.
        trainable: Those that stage 2 trains.
        macs: For one image, attention products included.
        macs_without_attention: The same without them.
    """

    params: int
    trainable: int
    macs: int
    macs_without_attention: int

    def to_dict(self) -> dict[str, int]:
        """Returns the figures by name."""
        return asdict(self)


class _AttentionWatch(TorchFunctionMode):
    """Notes what the counter counts while scaled dot product attention runs."""

    def __init__(self, counter: FlopCounterMode) -> None:
        super().__init__()
        self.counter, self.flops = counter, 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        before = self.counter.get_total_flops()
        result = func(*args, **(kwargs or {}))
        if func is nn.functional.scaled_dot_product_attention:
            self.flops += self.counter.get_total_flops() - before
        return result


def count_macs(run: Callable[..., Any], *inputs: Any) -> Macs:
    """Counts what ``run(*inputs)`` multiplies and accumulates, without a gradient.

    Works on the meta device too, where nothing is computed. Norms, activations, resampling and
    sums are not counted, as everywhere in the field. Source: torch's own FLOP counter.
    """
    counter = FlopCounterMode(display=False)
    watch = _AttentionWatch(counter)
    # Only the plain form of attention consists of products that are counted on every device.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter, watch:
        run(*inputs)
    return Macs(counter.get_total_flops() // 2, watch.flops // 2)


def count_parameters(modules: Iterable[nn.Module | nn.Parameter | None]) -> int:
    """Returns the number of parameters of modules (None: none), each tensor counted once."""
    found: dict[int, int] = {}
    for module in modules:
        own = [module] if isinstance(module, nn.Parameter) else []
        for parameter in module.parameters() if isinstance(module, nn.Module) else own:
            found[id(parameter)] = parameter.numel()
    return sum(found.values())


def _part(modules: list[Any], trained: bool, run: Callable[..., Any], *inputs: Any) -> Part:
    params, macs = count_parameters(modules), count_macs(run, *inputs)
    return Part(params, params if trained else 0, macs.total, macs.total - macs.attention)


def _lookup(tokens: Tensor, codebook: Tensor) -> Tensor:
    return squared_distances(tokens, codebook).min(-1).values


def _halves(codec: LatentCodec) -> tuple[list[Any], list[Any]]:
    """The modules of a VAE's encoder and decoder; AutoencoderTiny has no 1x1 convolutions."""
    vae: Any = codec.vae
    convs = (getattr(vae, "quant_conv", None), getattr(vae, "post_quant_conv", None))
    return [vae.encoder, convs[0]], [vae.decoder, convs[1]]


def count_parts(generator: OneStepGenerator, resolution: int) -> dict[str, Part]:
    """Counts the parts of a restorer for one image, LoRA not yet added.

    With the paper's prompt ``vre_lookup`` are the distances between tokens and dictionary; the
    dictionary's parameters belong to ``vre_encoder``. A fixed prompt has no part here: what made
    it, such as :func:`count_text_encoder`'s, ran before.

    Args:
        generator: On any device, the meta device included; its base has no LoRA.
        resolution: Side of the image in pixels.
    """
    codec, source = generator.codec, cast(Any, generator.prompt_source)
    image, latent, prompt = _inputs(generator, resolution)
    encoder, decoder = _halves(codec)
    parts = {
        "vae_encoder": _part(encoder, False, codec.encode, image),
        "vae_decoder": _part(decoder, False, codec.decode, latent),
        "unet": _part([generator.unet], False, generator.restore_latent, latent, prompt),
    }
    if (embedder := getattr(source, "embedder", None)) is None:
        return parts
    tokens = embedder.tokens(image)
    entries = torch.zeros(1, embedder.count, embedder.config.embedding_dim, device=image.device)
    return parts | {
        "vre_encoder": _part([embedder], False, embedder.tokens, image),
        "vre_lookup": _part([], False, _lookup, tokens, embedder.codebook),
        "prompt_convs": _part([source.convs], True, source.from_entries, entries),
    }


def _inputs(generator: OneStepGenerator, resolution: int) -> tuple[Tensor, Tensor, Tensor]:
    """An image, its latent and a prompt of as many rows as the source gives."""
    source = cast(Any, generator.prompt_source)
    device = next(generator.unet.parameters()).device
    rows = getattr(source, "embedder", source).count
    image = torch.zeros(1, 3, resolution, resolution, device=device)
    latent = torch.zeros(1, *generator.codec.latent_shape(image), device=device)
    width = int(generator.unet.config.cross_attention_dim)
    return image, latent, torch.zeros(1, rows, width, device=device)


def count_text_encoder(options: dict[str, Any]) -> Part:
    """Counts a CLIP text encoder for one prompt of full length, on the meta device.

    Args:
        options: Of transformers' ``CLIPTextConfig``.
    """
    # Only now: it takes seconds to import, and most counts have no text.
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(**options)
    with torch.device("meta"):
        model = CLIPTextModel(config).eval()
        words = torch.zeros(1, config.max_position_embeddings, dtype=torch.long)
    return _part([model], False, model, words)


def count_lora(generator: OneStepGenerator, resolution: int, adaptation: Adaptation) -> Part:
    """Adds what is trained of the base and counts what its LoRA brings while it is not merged.

    Args:
        generator: As in :func:`count_parts`; it is changed.
        resolution: Side of the image in pixels.
        adaptation: LoRA of UNet and VAE encoder, and layers trained whole: ``params`` are LoRA's
            alone, ``trainable`` those of both.
    """
    codec = generator.codec
    image, latent, prompt = _inputs(generator, resolution)

    def macs() -> Macs:
        both = (
            count_macs(codec.encode, image),
            count_macs(generator.restore_latent, latent, prompt),
        )
        return Macs(sum(each.total for each in both), sum(each.attention for each in both))

    before = macs()
    adapt(DiffusionBase(generator.unet, codec, generator.alphas_cumprod, ""), adaptation)
    after = macs()
    found = [*generator.unet.named_parameters(), *codec.named_parameters()]
    lora = sum(p.numel() for name, p in found if "lora_" in name)
    trainable = sum(p.numel() for _, p in found if p.requires_grad)
    gain = after.total - before.total
    return Part(lora, trainable, gain, gain - (after.attention - before.attention))
