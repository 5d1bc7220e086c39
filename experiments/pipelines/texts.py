"""Prompts from words: the fixed one, guidance's negative one, and one for each image."""

from functools import cache
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor

from experiments.cli.ranks import is_follower
from experiments.pipelines.build import base_folder
from osdface.checkpoints.export import load_tensors
from osdface.errors import UserError
from osdface.networks.caption import null_caption
from osdface.networks.captions import (
    Captions,
    EmbeddedCaptions,
    WrittenCaptions,
    read_captions,
)
from osdface.networks.text import TextEncoder, has_text_encoder, load_text_encoder
from osdface.paths import find_weight

CAPTION = "caption/caption.safetensors"
ROWS = 77
_text_encoder = cache(load_text_encoder)  # one for all prompts of a process


def base_text_encoder(cfg: DictConfig) -> TextEncoder | None:
    """Returns the text encoder of the base's folder; None where it has none."""
    if cfg.base.random or not has_text_encoder(base_folder(cfg)):
        return None
    return _text_encoder(base_folder(cfg))


def text_prompt(cfg: DictConfig, prompt_dim: int) -> Tensor:
    """Returns the fixed prompt (rows, prompt_dim) of all images, or of those without a caption.

    It is the first of these that is there: the file ``vre.text_prompt``, ``vre.text`` by the base's
    text encoder, the base's own embedding of an empty caption.
    """
    return _prompt(cfg, prompt_dim, "text_prompt", "text")


def negative_prompt(cfg: DictConfig, prompt_dim: int) -> Tensor:
    """Returns what guidance of ``losses.vsd`` leads away from, (rows, prompt_dim).

    By ``vre.negative_prompt`` and ``vre.negative_text``, as :func:`text_prompt` by its two.
    """
    return _prompt(cfg, prompt_dim, "negative_prompt", "negative_text")


def _prompt(cfg: DictConfig, prompt_dim: int, file_key: str, text_key: str) -> Tensor:
    file, text = cfg.vre[file_key], str(cfg.vre[text_key] or "")
    if file is not None:
        return read_prompt(find_weight(str(file), cfg.weights_dir), prompt_dim)
    if (encoder := base_text_encoder(cfg)) is not None:
        prompt = encoder.embed([text])[0].cpu()
        if prompt.shape[1] != prompt_dim:
            raise UserError(
                f"The base's text encoder gives a prompt of width {prompt.shape[1]}, its UNet "
                f"takes {prompt_dim}: they belong to different models."
            )
        return prompt
    if text:
        raise UserError(
            f"vre.{text_key}={text!r} needs a base with text_encoder/ and tokenizer/, which this "
            f"one lacks: give vre.{file_key}=FILE."
        )
    if cfg.base.random and cfg.vre.random:  # for measurements
        generator = torch.Generator().manual_seed(0)
        return torch.randn(ROWS, prompt_dim, generator=generator)
    caption = None if cfg.base.random else base_folder(cfg) / CAPTION
    if caption is None or not caption.is_file():
        needs = f"vre.kind={cfg.vre.kind}" if file_key == "text_prompt" else "losses.vsd"
        raise UserError(
            f"This base has no text encoder and no caption of its own: {needs} needs "
            f"vre.{file_key}=FILE, safetensors with prompt (rows, {prompt_dim})."
        )
    return null_caption(load_tensors(caption)).float()


def read_prompt(path: Path, prompt_dim: int) -> Tensor:
    """Reads the tensor ``prompt`` of a safetensors file, (rows, prompt_dim) or a batch of one."""
    prompt = load_tensors(path).get("prompt")
    if prompt is not None and prompt.ndim == 3 and len(prompt) == 1:
        prompt = prompt[0]  # a batch of one, as text encoders give it
    if prompt is None or prompt.ndim != 2 or prompt.shape[1] != prompt_dim:
        found = "no tensor prompt" if prompt is None else f"prompt of shape {tuple(prompt.shape)}"
        raise UserError(f"{path} has {found}: this base needs prompt (rows, {prompt_dim}).")
    return prompt.float()


def open_captions(cfg: DictConfig) -> Captions | None:
    """Returns the prompts of ``vre.captions`` by sample key; None where no file is named.

    Raises:
        UserError: It cannot be read, or holds words and the base has no text encoder.
    """
    if cfg.vre.captions is None:
        return None
    path = Path(str(cfg.vre.captions))
    if path.suffix == ".safetensors":
        return EmbeddedCaptions(path)
    texts, encoder = read_captions(path), base_text_encoder(cfg)
    if encoder is None:
        raise UserError(
            f"vre.captions={path} holds words, which only a base with text_encoder/ and tokenizer/ "
            "understands: embed them first with osdface.networks.captions.embed_captions."
        )
    return WrittenCaptions(texts, encoder)


def tell_stand_in(cfg: DictConfig) -> None:
    """Says so where a base's empty caption takes the place of a text encoder."""
    named = cfg.vre.text_prompt is not None or cfg.base.random
    if not named and not is_follower() and base_text_encoder(cfg) is None:
        print(
            "Prompt: this base has no text encoder; its empty caption stands in for words.",
            flush=True,
        )


def tell_no_guidance(prompt: Tensor, negative: Tensor) -> None:
    """Says so where score distillation is guided from a prompt to the same prompt."""
    if not is_follower() and torch.equal(prompt, negative):
        print(
            "Prompt: it is the negative prompt too, so guidance leads nowhere; vre.text= or "
            "vre.text_prompt= gives it words, vre.kind=captions each image its own.",
            flush=True,
        )
