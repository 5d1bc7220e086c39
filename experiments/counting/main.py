"""From the words of the command to its three files."""

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from experiments.cli.compose import compose_words
from experiments.counting.report import as_csv, as_markdown
from experiments.counting.timing import measure
from experiments.pipelines.build import plain, vq_config
from experiments.pipelines.stage2 import adaptation
from osdface.complexity import Part, count_lora, count_parts, count_text_encoder
from osdface.devices import usable_device
from osdface.errors import UserError
from osdface.files import write_json, write_text
from osdface.networks.base import build_base
from osdface.networks.embedder import PromptConvs, VisualPrompt, VisualRepresentationEmbedder
from osdface.networks.generator import OneStepGenerator
from osdface.networks.prompts import TEXT_KINDS, VISUAL_KINDS, FixedPrompt

# Above this many parameters a CPU takes a minute for one picture: it is timed on request alone.
_LARGE = 200_000_000
_TEXT_ROWS = 77  # R  of a CLIP text encoder


def random_generator(cfg: DictConfig, device: torch.device | str) -> OneStepGenerator:
    """Builds the restorer of a scale and method with random weights, without LoRA.

    It has the paper's prompt, or for a method without VRE one of as many rows as a text gives.
    """
    with torch.random.fork_rng(devices=[]), torch.device(device):
        base = build_base(plain(cfg.scale.base.unet), plain(cfg.scale.base.vae))
        config = vq_config(cfg)
        if cfg.vre.kind in VISUAL_KINDS:
            hidden = cfg.scale.vre.prompt_hidden_dim
            convs = PromptConvs(config.embedding_dim, hidden, base.prompt_dim)
            source: nn.Module = VisualPrompt(VisualRepresentationEmbedder(config), convs)
        else:
            source = FixedPrompt(torch.zeros(_TEXT_ROWS, base.prompt_dim))
        return OneStepGenerator(base, source, cfg.scale.stage2.timestep).eval()


def counts(cfg: DictConfig) -> dict[str, Any]:
    """Counts what a method's restorer holds and computes at a scale, by part."""
    resolution = int(cfg.scale.resolution)
    with torch.device("meta"):
        generator = random_generator(cfg, "meta")
        parts = count_parts(generator, resolution)
        chosen = adaptation(cfg, generator.codec)
        lora = count_lora(generator, resolution, chosen)
    if cfg.vre.kind in TEXT_KINDS and cfg.scale.base.text_encoder is not None:
        parts["text_encoder"] = count_text_encoder(plain(cfg.scale.base.text_encoder))

    def total(name: str) -> int:
        return sum(getattr(part, name) for part in parts.values())

    return {
        "scale": str(cfg.scale.name),
        "method": str(cfg.method.name),
        "resolution": resolution,
        "params_total": total("params"),
        "params_trainable": total("trainable") + lora.trainable,
        "macs_total": total("macs"),
        "macs_without_attention": total("macs_without_attention"),
        "parts": {name: part.to_dict() for name, part in parts.items()},
        "lora": _lora_facts(lora, int(chosen.lora["rank"])),
        "whole": lora.trainable - lora.params,
    }


def _lora_facts(lora: Part, rank: int) -> dict[str, Any]:
    # Merged into the weights, as in inference, it adds nothing, so no total contains it.
    return {"rank": rank, "params": lora.params, "macs_unmerged": lora.macs, "macs_merged": 0}


def complexity(values: dict[str, Any]) -> list[str]:
    """Counts a scale, measures it where asked to, and writes the report.

    Args:
        values: The keys of ``experiments.complexity``.

    Returns:
        The lines that the command ends with.
    """
    method, scale = values["method"], values["scale"]
    # Of the experiment of any method: the variants of its losses are not what is counted.
    cfg, _ = compose_words({"experiment": "osdface", "scale": scale, "method": method})
    dtype = getattr(torch, values["dtype"])
    device = usable_device(values["device"], dtype)
    name = scale if method == "osdface" else f"{scale}_{method}"
    folder = Path(values["output_dir"] or f"outputs/complexity/{name}").absolute()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output_dir={folder} is a file, not a folder.")
    found = counts(cfg)
    timed = values["time"] == "true" or (
        values["time"] == "auto" and (device.type != "cpu" or found["params_total"] < _LARGE)
    )
    found["time"] = None
    if timed:
        generator = random_generator(cfg, device)
        size = found["resolution"]
        found["time"] = measure(generator, size, device, dtype, values["batch"], values["repeats"])
    text = as_markdown(found)
    try:
        write_json(folder / "complexity.json", found)
        write_text(folder / "complexity.csv", as_csv(found))
        write_text(folder / "complexity.md", text)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}.") from error
    return [text, str(folder)]
