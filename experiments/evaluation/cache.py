"""Figures and features that are known already, by what images hold and figures rest on."""

import hashlib
import json
import uuid
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from osdface.files import atomic_path


def digest(data: bytes | str) -> str:
    """Returns the first 32 digits of the SHA-256."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()[:32]


class FigureCache:
    """Figures of single images in JSON lines; each process appends to a file of its own.

    Args:
        folder: Of the cache.
        specifications: What every column rests on; a figure of other networks is not found.
    """

    def __init__(self, folder: Path, specifications: Mapping[str, str]) -> None:
        self.folder = folder
        self.names = {k: f"{k}@{digest(text)[:12]}" for k, text in specifications.items()}
        self.known: dict[str, dict[str, float]] = {}
        for path in sorted(folder.glob("figures-*.jsonl")):
            for line in path.read_text("utf-8", "replace").splitlines():
                self._take_in(line)
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"figures-{uuid.uuid4().hex[:8]}.jsonl"

    def _take_in(self, line: str) -> None:
        try:
            key, figures = json.loads(line)
            self.known.setdefault(key, {}).update(figures)
        except (ValueError, TypeError):
            return  # the last line of a process that was killed; it is computed again

    def get(self, key: str) -> dict[str, float]:
        """Returns the columns that are known of an image."""
        held = self.known.get(key, {})
        return {column: held[own] for column, own in self.names.items() if own in held}

    def put(self, key: str, figures: Mapping[str, float]) -> None:
        """Keeps columns of an image."""
        own = {self.names[column]: value for column, value in figures.items()}
        self.known.setdefault(key, {}).update(own)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps([key, own]) + "\n")


class FeatureCache:
    """Features of images, a file a batch.

    Args:
        folder: Of the cache.
        network: Which network they are of; features of another one are not found.
    """

    def __init__(self, folder: Path, network: str) -> None:
        self.folder = folder / f"features-{digest(network)[:12]}"
        self.known: dict[str, Tensor] = {}
        for path in sorted(self.folder.glob("[0-9a-f]*.safetensors")):
            try:
                self.known |= load_file(path)
            except (OSError, SafetensorError):
                path.unlink(missing_ok=True)

    def get(self, key: str) -> Tensor | None:
        """Returns the features of an image, (D,) or of any shape; None if they are not known."""
        return self.known.get(key)

    def put(self, features: Mapping[str, Tensor]) -> None:
        """Keeps the features of some images."""
        held = {
            key: each.clone(memory_format=torch.contiguous_format) for key, each in features.items()
        }
        self.known |= held
        with atomic_path(self.folder / f"{uuid.uuid4().hex[:16]}.safetensors") as temporary:
            save_file(held, temporary)
