"""Prompts that a file has for each image: words of a tagger, or their embeddings."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from osdface.errors import UserError
from osdface.files import atomic_path
from osdface.networks.text import TextEncoder


class Captions(Protocol):
    """Prompts by the samples' keys."""

    def prompts(self, keys: Sequence[str], like: Tensor) -> list[Tensor | None]:
        """Returns a prompt (rows, prompt_dim) for each key, None where there is none.

        Args:
            keys: Of the samples.
            like: The default prompt, whose device, precision and shape the others have.
        """
        ...

    def check(self, like: Tensor) -> None:
        """Raises UserError if a prompt has another shape than the default one, ``like``."""
        ...


class WrittenCaptions:
    """Words by key, embedded by a frozen text encoder whenever they are asked for."""

    def __init__(self, texts: dict[str, str], encoder: TextEncoder) -> None:
        self.texts, self.encoder = texts, encoder

    def prompts(self, keys: Sequence[str], like: Tensor) -> list[Tensor | None]:
        """See :class:`Captions`."""
        known = [key for key in keys if key in self.texts]
        if not known:
            return [None] * len(keys)
        found = self.encoder.embed([self.texts[key] for key in known], like.device).to(like)
        return [found[known.index(key)] if key in self.texts else None for key in keys]

    def check(self, like: Tensor) -> None:
        """See :class:`Captions`."""
        own = self.encoder.embed([""])[0]
        if own.shape != like.shape:
            raise UserError(
                f"The captions become prompts of shape {tuple(own.shape)}, the default prompt of "
                f"images without one has {tuple(like.shape)}: leave vre.text_prompt= out, or give "
                "one of the base's text encoder."
            )


class EmbeddedCaptions:
    """A safetensors file with a prompt (rows, prompt_dim) under each key, read as it is needed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file: Any = safe_open(path, "pt")
            self.keys = set(self._file.keys())
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path} is missing or no safetensors file: {error}.") from error

    def __deepcopy__(self, memo: dict[int, Any]) -> "EmbeddedCaptions":
        return self  # an open file, never written to

    def prompts(self, keys: Sequence[str], like: Tensor) -> list[Tensor | None]:
        """See :class:`Captions`."""
        return [self._read(key, like) if key in self.keys else None for key in keys]

    def check(self, like: Tensor) -> None:
        """See :class:`Captions`; reads no tensor."""
        for key in sorted(self.keys):
            self._fits(key, tuple(self._file.get_slice(key).get_shape()), like)

    def _fits(self, key: str, shape: tuple[int, ...], like: Tensor) -> None:
        if shape != like.shape:
            raise UserError(
                f"{self.path}: the prompt of {key!r} has shape {shape}, the default prompt "
                f"{tuple(like.shape)}: make both with the same text encoder."
            )

    def _read(self, key: str, like: Tensor) -> Tensor:
        prompt = self._file.get_tensor(key)
        self._fits(key, tuple(prompt.shape), like)
        return prompt.to(like)


class CaptionPrompt(nn.Module):
    """A frozen prompt for each sample by its key; a sample without one has the default prompt.

    Attributes:
        prompt: The default, (rows, prompt_dim); all that an export keeps.
        asked: Images so far that were given a key.
        missing: Those of them that had no caption.
    """

    kind: ClassVar[str] = "captions"

    def __init__(self, default: Tensor, captions: Captions | None = None) -> None:
        super().__init__()
        self.count, self.captions = default.shape[0], captions
        self.asked = self.missing = 0
        self.register_buffer("prompt", default.detach().clone())
        self.prompt: Tensor

    def forward(self, images: Tensor, keys: Sequence[str] | None = None) -> Tensor:
        """Maps LQ images (B, 3, H, W) and their keys to the prompt (B, count, prompt_dim)."""
        if keys is None or self.captions is None:
            return self.prompt.expand(images.shape[0], -1, -1)
        found = self.captions.prompts(keys, self.prompt)
        lacking = [key for key, prompt in zip(keys, found, strict=True) if prompt is None]
        if lacking and not self.missing:
            warnings.warn(
                f"The captions have none for {lacking[0]!r}: such images get the default prompt, "
                "and prompt/without_caption counts them.",
                stacklevel=2,
            )
        self.asked, self.missing = self.asked + len(keys), self.missing + len(lacking)
        return torch.stack([self.prompt if prompt is None else prompt for prompt in found])

    def figures(self) -> dict[str, float]:
        """Returns what a log should tell: how many images had no caption since the start."""
        return {"prompt/without_caption": float(self.missing)}


def read_captions(path: str | Path) -> dict[str, str]:
    """Reads words by key from JSON lines, ``{"key": "00012", "text": "a woman, smiling"}``.

    Raises:
        UserError: The file is missing, or a line is something else; it is named.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from error
    texts: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
            key, text = found["key"], found["text"]
        except (ValueError, KeyError, TypeError):
            key = text = None
        if not isinstance(key, str) or not isinstance(text, str):
            raise UserError(
                f'{path}, line {number}: a caption is {{"key": "...", "text": "..."}} on a line.'
            )
        texts[key] = text
    if not texts:
        raise UserError(f"{path} holds no caption.")
    return texts


def embed_captions(texts: dict[str, str], encoder: TextEncoder, path: str | Path) -> None:
    """Writes what :class:`EmbeddedCaptions` reads, atomically; all of it is held in memory.

    Args:
        texts: Words by key.
        encoder: Of the base that will be trained.
        path: A ``.safetensors`` file.
    """
    prompts = {key: encoder.embed([text])[0].cpu().contiguous() for key, text in texts.items()}
    with atomic_path(path) as temporary:
        save_file(prompts, temporary)
