"""LoRA on a UNet's linear and convolution layers, through peft."""

from collections.abc import Iterable
from typing import Any

from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from peft import set_peft_model_state_dict as _set_state
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from osdface.errors import UserError

# Linear and convolution layers of the blocks (R: "linear and conv"; the exact list is ours, O).
DEFAULT_TARGETS = (
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "proj_in",
    "proj_out",
    "ff.net.0.proj",
    "ff.net.2",
    "conv1",
    "conv2",
    "conv_shortcut",
    "conv",
    "conv_out",
)
PIPELINE_PREFIX = "unet."


def add_lora(
    model: nn.Module,
    rank: int = 16,
    alpha: float = 16,
    targets: Iterable[str] = DEFAULT_TARGETS,
    name: str = "default",
) -> nn.Module:
    """Freezes ``model`` and adds trainable LoRA layers in place; B starts at zero.

    Args:
        model: A UNet or a part of one.
        rank: LoRA rank; 16 (R).
        alpha: The update is scaled by alpha / rank; 16 (R).
        targets: Last parts of the names of the layers that get LoRA.
        name: Adapter name.

    Raises:
        UserError: No layer has such a name, or one is neither linear nor a convolution.
    """
    model.requires_grad_(False)
    config = LoraConfig(
        r=rank, lora_alpha=alpha, target_modules=list(targets), init_lora_weights=True
    )
    try:
        inject_adapter_in_model(config, model, adapter_name=name)
    except ValueError as error:  # peft found none of them, or one is no layer it knows
        line = " ".join(str(error).split())[:160]
        raise UserError(f"LoRA does not fit this base ({line}): check lora_targets.") from error
    return model


def lora_state(model: nn.Module, name: str = "default", prefix: str = PIPELINE_PREFIX):
    """Returns LoRA tensors in pipeline form: ``unet.<module>.lora_A.weight`` (R)."""
    state = get_peft_model_state_dict(model, adapter_name=name)
    return {prefix + key: value.detach() for key, value in state.items()}


def load_lora_state(
    model: nn.Module,
    state: dict[str, Tensor],
    name: str = "default",
    prefix: str = PIPELINE_PREFIX,
) -> None:
    """Loads what :func:`lora_state` returned; every LoRA tensor must be present and fit.

    Raises:
        UserError: A tensor is missing, unexpected or of another shape; the first one is named.
    """
    state = {key.removeprefix(prefix): value for key, value in state.items()}
    own = get_peft_model_state_dict(model, adapter_name=name)
    for key in sorted(own.keys() | state.keys()):
        if key not in state or key not in own:
            side = "lacks" if key not in state else "has the unknown"
            raise UserError(
                f"The LoRA file {side} tensor {key!r}: it was trained with other lora_targets or "
                "on another base."
            )
        if own[key].shape != state[key].shape:
            rank = int(state[key].shape[0 if ".lora_A." in key else 1])
            other = own[key].shape[0 if ".lora_A." in key else 1] == rank
            why = "it was trained on another base" if other else f"its lora_rank is {rank}"
            raise UserError(
                f"LoRA tensor {key!r} has shape {tuple(state[key].shape)}, the model needs "
                f"{tuple(own[key].shape)}: {why}."
            )
    _set_state(model, state, adapter_name=name)


def merge_lora(model: nn.Module) -> nn.Module:
    """Adds each LoRA product to its frozen weight in place and removes the adapters."""
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer) and isinstance(module, nn.Module):
            layer: Any = module
            layer.merge()
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, layer.get_base_layer())
    return model
