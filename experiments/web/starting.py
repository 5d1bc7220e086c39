"""From the command's keys to the loaded networks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from experiments.cli.devices import named_device
from experiments.web.models import Model, load_models
from experiments.web.work import Studio
from osdface.checkpoints.opening import TINY
from osdface.errors import UserError
from osdface.faces import FaceDetector
from osdface.faces.detection import WEIGHTS, find_detector


def open_studio(values: Mapping[str, Any]) -> tuple[Studio, list[str]]:
    """Loads what the keys of ``experiments.demo`` name.

    Returns:
        The studio, and what the person at the terminal should know.

    Raises:
        UserError: Something is missing or does not fit.
    """
    named_device(values["device"])
    paths = [path.strip() for path in values["checkpoint"].split(",") if path.strip()]
    if not paths:
        raise UserError("checkpoint= names nothing: give an export folder, a .ckpt, or tiny.")
    if values["base"] is not None and set(paths) == {TINY}:
        raise UserError("base= is only for a trained model, but checkpoint= names none.")
    folder = values["weights_dir"]
    if folder is not None and not Path(folder).is_dir():
        raise UserError(f"weights_dir={folder} is no folder.")
    models = load_models(
        paths,
        device=values["device"],
        dtype=getattr(torch, values["dtype"]),
        base=values["base"],
        weights_dir=values["weights_dir"],
    )
    detector = _detector(values, models)
    notes = [f"Models: {', '.join(models)}. tiny knows drawn portraits of 64 px alone."]
    if detector is None:
        names = " or ".join(WEIGHTS)
        notes.append(f"Aligned faces only: weights_dir= has no {names} to find faces with.")
    return Studio(models, detector, values["max_pixels"]), notes


def _detector(values: Mapping[str, Any], models: Mapping[str, Model]) -> FaceDetector | None:
    """The detector on the models' device; None where its weights are nowhere."""
    try:
        weights = find_detector(values["weights_dir"])
    except UserError:
        return None
    device = next(iter(models.values())).restorer.device
    return FaceDetector(weights, device, values["confidence"])
