"""What training changes of a base: LoRA on UNet and VAE encoder, and layers trained whole."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from diffusers import UNet2DConditionModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from osdface.errors import UserError
from osdface.networks.base import DiffusionBase
from osdface.networks.latents import LatentCodec
from osdface.networks.lora import add_lora, load_lora_state, lora_state, merge_lora

VAE_PREFIX, UNET_PREFIX = "vae.", "unet."
ALL = "all"
_INSIDE = {"base_layer", "lora_A", "lora_B"}  # what peft has in place of a layer


@dataclass(frozen=True)
class Adaptation:
    """Which layers of a base are trained.

    Attributes:
        lora: ``{"rank", "alpha", "targets"}`` of the UNet.
        lora_vae: The same of the VAE encoder, targets by full name; empty for none (P).
        trained_layers: Names of layers of the UNet that are trained whole, ``unet.conv_in``.
    """

    lora: dict[str, Any]
    lora_vae: dict[str, Any] = field(default_factory=dict)
    trained_layers: tuple[str, ...] = ()

    @property
    def further(self) -> dict[str, Any]:
        """What config.json of an export says beside ``lora``; empty for a UNet's LoRA alone."""
        found: dict[str, Any] = {"lora_vae": self.lora_vae} if self.lora_vae else {}
        return found | (
            {"trained_layers": list(self.trained_layers)} if self.trained_layers else {}
        )


def encoder_targets(codec: LatentCodec, targets: str | Sequence[str]) -> list[str]:
    """Returns full names of the encoder's layers that get LoRA.

    Args:
        codec: A VAE of either kind, with a LoRA or without.
        targets: Last parts of names, or "all" for every convolution and linear layer and
            ``quant_conv``: in an AutoencoderKL those of OSEDiff (R).

    Raises:
        UserError: No layer of the encoder has such a name.
    """
    wanted = [targets] if isinstance(targets, str) else list(targets)
    found = [
        name
        for name, module in codec.vae.named_modules()
        if (name.startswith("encoder.") or name == "quant_conv")
        and isinstance(module, nn.Conv2d | nn.Linear | LoraLayer)
        and not _INSIDE & set(name.split("."))
        and (wanted == [ALL] or any(f".{name}".endswith(f".{end}") for end in wanted))
    ]
    if not found:
        raise UserError(
            f"The VAE's encoder has no layer {', '.join(wanted[:5])}: check lora_vae_targets."
        )
    return found


def adapt(base: DiffusionBase, adaptation: Adaptation) -> None:
    """Freezes a base and adds in place what is trained of it.

    Networks that share the base's weights must be built before; they keep the base's own values
    of the layers that are trained whole.

    Raises:
        UserError: A layer is not there, or would have a LoRA and be trained whole.
    """
    add_lora(base.unet, **adaptation.lora)
    for name in adaptation.trained_layers:
        _train_whole(base.unet, name)
    base.codec.requires_grad_(False)
    base.codec.adapted = bool(adaptation.lora_vae)
    if adaptation.lora_vae:
        add_lora(base.codec.vae, **adaptation.lora_vae)


def _train_whole(unet: UNet2DConditionModel, name: str) -> None:
    layer = _layer(unet, name)
    own = dict(layer.named_parameters(recurse=False))
    if not own or isinstance(layer, LoraLayer):
        why = "has a LoRA" if isinstance(layer, LoraLayer) else "has no weights of its own"
        raise UserError(f"The layer {name} {why}: leave it out of trained_layers.")
    for key, value in own.items():
        # A tensor of its own: whoever shares the base's weights keeps those.
        setattr(layer, key, nn.Parameter(value.detach().clone()))


def _layer(unet: UNet2DConditionModel, name: str) -> nn.Module:
    try:
        if not name.startswith(UNET_PREFIX):
            raise AttributeError
        return unet.get_submodule(name.removeprefix(UNET_PREFIX))
    except AttributeError:
        raise UserError(
            f"The base has no layer {name!r}: trained_layers names layers of the UNet, such as "
            "unet.conv_in."
        ) from None


@contextmanager
def without_lora(network: nn.Module) -> Iterator[None]:
    """Lets a network compute as if it had no LoRA.

    peft's own switch would also change which parameters are trained.
    """
    layers: list[Any] = [module for module in network.modules() if isinstance(module, LoraLayer)]
    before = [layer._disable_adapters for layer in layers]
    try:
        for layer in layers:
            layer._disable_adapters = True
        yield
    finally:
        for layer, value in zip(layers, before, strict=True):
            layer._disable_adapters = value


def encoder_lora_state(codec: LatentCodec) -> dict[str, Tensor]:
    """Returns the encoder's LoRA as ``vae.<module>.lora_A.weight``; empty where there is none."""
    return lora_state(codec.vae, prefix=VAE_PREFIX) if codec.adapted else {}


def layer_state(unet: UNet2DConditionModel, names: Iterable[str]) -> dict[str, Tensor]:
    """Returns the tensors of layers that are trained whole, as ``unet.conv_in.weight``."""
    layers = {name: _layer(unet, name) for name in names}
    return {
        f"{name}.{key}": value.detach()
        for name, layer in layers.items()
        for key, value in layer.named_parameters(recurse=False)
    }


def load_trained(
    unet: UNet2DConditionModel,
    codec: LatentCodec,
    lora: dict[str, Tensor],
    lora_vae: dict[str, Tensor],
    layers: dict[str, Tensor],
) -> None:
    """Fills an adapted base with what was trained.

    Args:
        unet: After :func:`adapt`.
        codec: Likewise.
        lora: Of the UNet, in pipeline form.
        lora_vae: What :func:`encoder_lora_state` returned.
        layers: What :func:`layer_state` returned.

    Raises:
        UserError: A tensor is missing, unexpected or of another shape; the first one is named.
    """
    if bool(lora_vae) != codec.adapted:
        side, do = ("a", "set") if lora_vae else ("no", "leave out")
        raise UserError(
            f"The weights have {side} LoRA of the VAE encoder: {do} scale.stage2.lora_vae_targets="
            f"{' all' if lora_vae else ''}, or take method= of the run that made them."
        )
    load_lora_state(unet, lora)
    if lora_vae:
        load_lora_state(codec.vae, lora_vae, prefix=VAE_PREFIX)
    own = {
        UNET_PREFIX + name: parameter
        for name, parameter in unet.named_parameters()
        if parameter.requires_grad and ".lora_" not in name
    }
    for key in sorted(own.keys() | layers.keys()):
        if key not in own or key not in layers or own[key].shape != layers[key].shape:
            raise UserError(
                f"Tensor {key!r} of the layers that are trained whole is missing or does not fit: "
                "scale.stage2.trained_layers= must be that of the weights."
            )
        own[key].data.copy_(layers[key])


def merge(unet: UNet2DConditionModel, codec: LatentCodec) -> None:
    """Adds all LoRA products to their weights in place."""
    merge_lora(unet)
    merge_lora(codec.vae)
    codec.adapted = False
