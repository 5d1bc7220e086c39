"""A run's folder with a small restorer of 16 px, as training leaves it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from osdface.checkpoints.export import save_restorer
from osdface.files import write_json
from osdface.networks.base import build_base, load_base, save_base
from osdface.networks.embedder import PromptConvs, VisualPrompt, VisualRepresentationEmbedder
from osdface.networks.generator import OneStepGenerator
from osdface.networks.lora import DEFAULT_TARGETS, add_lora
from osdface.run_folder import write_status
from tests.osdface.conftest import UNET, VAE, VQ

LORA = {"rank": 4, "alpha": 4, "targets": list(DEFAULT_TARGETS)}
CONFIG: dict[str, Any] = {
    "variant": "no_gan",
    "seed": 3,
    "vre": {"kind": "distinct", "dictionary": "lq", "checkpoint": None},
    "losses": {"mse": 1.0, "identity": 1.0, "gan": 0.0, "weights": {"identity": 0.3, "gan": 0.01}},
    "data": {
        "kind": "folder",
        "root": "/somebody/private/faces",
        "num_workers": 2,
        "degradation": {"preset": "waveface", "strength_scale": 0.35},
    },
    "scale": {
        "name": "small",
        "resolution": 16,
        "vre": {"prompt_hidden_dim": 8},
        "stage2": {
            "steps": 7, "batch_size": 2, "lora_rank": 4, "lora_alpha": 4, "lora_targets": None,
            "timestep": 399, "perceptual_loss": "vgg16", "identity_loss": "tiny_a",
        },
    },
}  # fmt: skip


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory) -> Path:
    """The folder, with export, checkpoint, configuration and figures."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    base = build_base(UNET, VAE)
    save_base(base, folder / "private base")
    fingerprint = load_base(folder / "private base").fingerprint
    embedder = VisualRepresentationEmbedder(VQ)
    torch.nn.init.normal_(embedder.codebook)
    add_lora(base.unet, **LORA)
    for name, parameter in base.unet.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    generator = OneStepGenerator(base, VisualPrompt(embedder, PromptConvs(16, 8, 12)))
    named = {"path": str(folder / "private base"), "fingerprint": fingerprint}
    facts = {"scale": "small", "resolution": 16, "figures": {"psnr": 21.5, "identity": 0.5}}
    save_restorer(folder / "export", generator, LORA, named, facts)
    config = CONFIG | {"base": {"path": named["path"]}}
    OmegaConf.save(OmegaConf.create(config), folder / "config.yaml")
    write_json(folder / "metrics.json", {"psnr": 21.5, "identity": 0.5})
    write_status(folder, "finished", step=7)
    how = {"psnr": "mean over images", "identity": "cosine by tiny_b (stand-in)"}
    write_json(folder / "references" / "specification.json", how)
    trained = {f"generator.{k}": v.detach() for k, v in generator.named_parameters()
               if v.requires_grad}  # fmt: skip
    (folder / "checkpoints").mkdir()
    state = {"state_dict": trained, "generator_step": 7, "config": config}
    torch.save(state, folder / "checkpoints" / "last.ckpt")
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch) -> Path:
    """Each test works in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OSDFACE_WEIGHTS", raising=False)
    return tmp_path
