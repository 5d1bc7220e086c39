"""The base's own text encoder, where its folder has one: words become a prompt."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from osdface.errors import UserError

FOLDERS = ("text_encoder", "tokenizer")


def has_text_encoder(folder: Path) -> bool:
    """Returns whether a base in diffusers' layout brings a text encoder and its tokenizer."""
    return all((folder / name).is_dir() for name in FOLDERS)


class TextEncoder:
    """CLIP's text encoder as Stable Diffusion uses it, frozen; no part of any module tree.

    So checkpoints, optimizers and DDP never see it. It computes in float32.
    """

    def __init__(self, encoder: Any, tokenizer: Any) -> None:
        self.encoder, self.tokenizer = encoder.requires_grad_(False).eval(), tokenizer

    @torch.no_grad()
    def embed(self, texts: Sequence[str], device: torch.device | str = "cpu") -> Tensor:
        """Maps words to prompts (B, 77, prompt_dim): the last hidden states, padding included (R).

        Args:
            texts: What is too long is cut off.
            device: Where it computes; the encoder moves there.
        """
        self.encoder.to(device)
        tokens = self.tokenizer(
            list(texts),
            max_length=self.tokenizer.model_max_length,
            padding="max_length",
            truncation=True,
            return_tensors="pt",
        )
        with torch.autocast(torch.device(device).type, enabled=False):
            return self.encoder(tokens.input_ids.to(device))[0]


def load_text_encoder(folder: Path) -> TextEncoder:
    """Loads ``text_encoder/`` and ``tokenizer/`` of a base in float32; nothing is downloaded.

    Raises:
        UserError: One is missing or broken.
    """
    # Only now: it takes seconds, and few runs want it.
    from transformers import AutoTokenizer, CLIPTextModel

    if not has_text_encoder(folder):
        raise UserError(f"The base {folder} has no text_encoder/ and tokenizer/.")
    try:
        encoder = CLIPTextModel.from_pretrained(folder / FOLDERS[0], local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder / FOLDERS[1], local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"The text encoder of the base {folder} cannot be read ({str(error).splitlines()[0]})."
        ) from error
    return TextEncoder(encoder.float(), tokenizer)
