"""MUSIQ, MANIQA and CLIP-IQA by pyiqa, an optional extra whose licence is non-commercial."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from osdface.errors import UserError
from osdface.metrics.no_reference import NoReferenceMean
from osdface.paths import find_weight
from osdface.weights.registry import entry

FILES = {
    "musiq": "musiq_koniq_ckpt-e95806b9.pth",
    "maniqa": "ckpt_koniq10k.pt",
    "clipiqa": "RN50.pt",
}


class Quality(NoReferenceMean):
    """Mean quality of images (B, 3, H, W) in [-1, 1] by a network of pyiqa; higher is better.

    Args:
        name: ``musiq`` (KonIQ, 0 to 100), ``maniqa`` (KonIQ, 0 to 1) or ``clipiqa`` (0 to 1).
        weights_dir: Where its file is looked for; pyiqa is never asked to fetch one.

    Raises:
        UserError: pyiqa or the file is missing, or the file is another one.
    """

    def __init__(self, name: str, weights_dir: str | Path | None = None) -> None:
        super().__init__((name,))
        self.path = find_quality(name, weights_dir)
        known = entry(FILES[name])
        if known and (fault := known.fault(self.path)):
            raise UserError(f"{self.path} is not the file of {name}: {fault}.")
        self.network = _build(_pyiqa(name), name, self.path)

    def of_image(self, restored: Tensor) -> dict[str, Tensor]:
        images = (restored.clamp(-1, 1) + 1) / 2
        # One by one: MANIQA draws its crops for a whole batch, so a batch would change an image.
        found = []
        for image in images.split(1):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                found.append(self.network(image).detach().double().reshape(1).cpu())
        return {self.names[0]: torch.cat(found)}


def _pyiqa(name: str) -> Any:
    try:
        return importlib.import_module("pyiqa")
    except ImportError as error:
        raise UserError(
            f"{name} needs pyiqa ({error}), which is non-commercial and 475 MB: pip install "
            f"'osdface[iqa]', and the file {FILES[name]}; or leave {name} out with metrics=."
        ) from error


def find_quality(name: str, weights_dir: str | Path | None = None) -> Path:
    """Returns the weight file of a network; UserError with its row where it is missing."""
    return find_weight(FILES[name], weights_dir)


@contextmanager
def _untrained_vit() -> Iterator[None]:
    """MANIQA's file holds its ViT too; timm would first fetch another one."""
    timm: Any = importlib.import_module("timm")
    create = timm.create_model
    timm.create_model = lambda name, **given: create(name, **{**given, "pretrained": False})
    try:
        yield
    finally:
        timm.create_model = create


def _build(pyiqa: Any, name: str, path: Path) -> Any:
    cpu = torch.device("cpu")
    if name == "musiq":
        return pyiqa.create_metric(name, device=cpu, pretrained_model_path=str(path))
    if name == "clipiqa":
        return pyiqa.create_metric(name, device=cpu, backbone=str(path))
    with _untrained_vit():
        network = pyiqa.create_metric(name, device=cpu, pretrained=False)
    network.load_weights(str(path), weight_keys=None)
    return network.eval()
