"""The rows every variant is held against: degraded input, VAE round trips, untrained generator."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor
from tqdm import tqdm

from callbacks.drawing import to_uint8
from callbacks.image_grid import sample_file_name, save_picture
from datamodules.faces import FaceDataModule
from experiments.cli.ranks import is_follower
from experiments.pipelines.build import build_metrics
from osdface.files import write_json
from osdface.networks.generator import OneStepGenerator


@torch.no_grad()
def write_references(
    cfg: DictConfig, generator: OneStepGenerator, data: FaceDataModule, folder: Path
) -> None:
    """Scores the references on the held-out pictures; writes figures, specification, samples.

    Where stage 1 has just run in several processes, all of them have to come here, since the
    figures are reduced over them; the first one writes.
    """
    writes = not is_follower()
    gpu = cfg.trainer.accelerator == "gpu" and torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    generator.eval().to(device)
    codec = generator.codec
    rows: dict[str, Callable[[dict[str, Any]], Tensor]] = {
        "degraded": lambda batch: batch["lq"],
        "lq_roundtrip": lambda batch: codec.roundtrip(batch["lq"]),
        "hq_roundtrip": lambda batch: codec.roundtrip(batch["hq"]),
        "untrained": lambda batch: generator(batch["lq"]).image.clamp(-1, 1),
    }
    metrics = {name: build_metrics(cfg).to(device) for name in rows}
    batches = data.val_dataloader()
    for number, batch in enumerate(tqdm(batches, "reference rows", disable=not cfg.progress)):
        batch |= {domain: batch[domain].to(device) for domain in ("lq", "hq")}
        for name, restore in rows.items():
            metrics[name].update(restore(batch), batch["hq"])
        if number == 0 and writes:
            count = cfg.scale.stage2.samples
            for domain in ("lq", "hq"):
                images = to_uint8(batch[domain][:count])
                for key, image in zip(batch["key"], images, strict=False):
                    save_picture(folder / "samples" / domain / sample_file_name(key), image)
    figures = {name: row.compute() for name, row in metrics.items()}
    if writes:
        write_json(folder / "specification.json", metrics["degraded"].specification())
        write_json(folder / "metrics.json", figures)
