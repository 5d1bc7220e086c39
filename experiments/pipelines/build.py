"""Configuration to objects: data, networks, losses; the same for every experiment and size."""

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from datamodules.faces import FaceDataModule
from osdface.errors import UserError
from osdface.files import sha256_file
from osdface.losses import WeightedLosses, build_loss
from osdface.metrics import RestorationMetrics, build_metric
from osdface.networks.autoencoder import VQConfig
from osdface.networks.base import DiffusionBase, build_base, folder_fingerprint, load_base
from osdface.networks.base_files import find_base
from osdface.networks.identity import find_identity, load_identity
from osdface.networks.perceptual import load_trunk
from osdface.networks.trunk import PerceptualTrunk


def plain(node: Any) -> Any:
    """Returns a config node as plain, resolved values."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def build_datamodule(cfg: DictConfig, batch_size: int, **changes: Any) -> FaceDataModule:
    """Builds the data module of ``data=`` at the scale's resolution.

    Args:
        cfg: The run's configuration.
        batch_size: Training samples a batch on one process.
        changes: Arguments of :class:`FaceDataModule` that differ from ``data.*``.
    """

    arguments = {
        **plain(cfg.data),
        "resolution": cfg.scale.resolution,
        "batch_size": batch_size,
        "seed": cfg.seed,
        "cache_dir": str(Path(cfg.cache_dir)),
        "val_count": int(cfg.data.val_count) or None,
        "val_degradation": plain(cfg.data.degradation) | plain(cfg.data.val_degradation),
    }
    return FaceDataModule(**{**arguments, **changes})


def device_count(cfg: DictConfig) -> int:
    """Returns how many devices of a machine train; trainer.devices=-1 means all of its GPUs."""
    devices = int(cfg.trainer.devices)
    return devices if devices > 0 else max(1, torch.cuda.device_count())


def vq_config(cfg: DictConfig) -> VQConfig:
    """Returns the sizes of the dictionaries at this scale."""
    names = ("channels", "layers_per_block", "entries", "embedding_dim", "norm_groups")
    return VQConfig.from_dict({name: plain(cfg.scale.vre[name]) for name in names})


def base_folder(cfg: DictConfig) -> Path:
    """Returns the folder or single file that ``base.path`` names."""
    if cfg.base.path is None:
        raise UserError(
            f"scale={cfg.scale.name} needs base.path=PATH, a base in diffusers' layout "
            "or in one file (or base.random=true for measurements)."
        )
    return find_base(str(cfg.base.path), cfg.weights_dir)


def fingerprint_of_base(cfg: DictConfig) -> str:
    """Returns the fingerprint of the base that :func:`open_base` loads, from its files alone."""
    if cfg.base.random:
        return "random"
    path = base_folder(cfg)
    return sha256_file(path)[:16] if path.is_file() else folder_fingerprint(path)


def open_base(cfg: DictConfig) -> DiffusionBase:
    """Loads ``base.path``, or builds random weights where ``base.random`` asks for them."""
    if cfg.base.random:
        torch.manual_seed(0)  # one random base for all variants and for a resume
        return build_base(plain(cfg.scale.base.unet), plain(cfg.scale.base.vae))
    return load_base(base_folder(cfg), plain(cfg.scale.base.unet), plain(cfg.scale.base.vae))


def build_perceptual(cfg: DictConfig, name: str, trunk: str) -> nn.Module:
    """Builds one perceptual loss, such as "dists" or "lpips", on the trunk of that name."""
    pooling = "max" if "lpips" in name else "l2"
    return build_loss(name, trunk=load_trunk(trunk, cfg.weights_dir, pooling=pooling))


def build_metrics(cfg: DictConfig) -> RestorationMetrics:
    """Builds the validation figures; the scoring identity network is never that of the loss."""
    chosen = cfg.scale.stage2
    if _scores_itself(cfg):
        raise UserError(
            f"scale.stage2.identity_metric is {chosen.identity_metric!r}, the network in the loss: "
            "score with another one."
        )
    perceptual = build_perceptual(cfg, "dists", chosen.perceptual_metric)
    identity = load_identity(chosen.identity_metric, cfg.weights_dir)
    return RestorationMetrics(perceptual, identity, [build_metric(name) for name in cfg.metrics])


def _scores_itself(cfg: DictConfig) -> bool:
    """Whether the identity networks of loss and figure are one, by name or by their files."""
    names = cfg.scale.stage2.identity_loss, cfg.scale.stage2.identity_metric
    if names[0] == names[1]:
        return True
    if not loss_weights(cfg).get("identity"):
        return False  # the loss has none, and its file need not be there
    files = [find_identity(name, cfg.weights_dir) for name in names]
    sizes = {file.stat().st_size for file in files}
    return len(sizes) == 1 and sha256_file(files[0]) == sha256_file(files[1])


def loss_weights(cfg: DictConfig) -> dict[str, float]:
    """Returns the weight of every term: the variant's factor times lambda; zeros are left out.

    A term without a lambda weighs what its factor says.
    """
    terms = plain(cfg.losses)
    lambdas = terms.pop("weights")
    lambdas = {name: float(lambdas.get(name, 1.0)) for name in terms}
    weights = {name: float(factor) * lambdas[name] for name, factor in terms.items()}
    return {name: weight for name, weight in weights.items() if weight}


def build_losses(cfg: DictConfig, weights: dict[str, float]) -> WeightedLosses:
    """Builds the image-space losses of stage 2 with the networks that they need."""
    chosen = cfg.scale.stage2

    def trunk(kind: str, pooling: str) -> PerceptualTrunk | None:
        wanted = any(kind in name for name in weights)
        return load_trunk(chosen.perceptual_loss, cfg.weights_dir, pooling) if wanted else None

    wanted = "identity" in weights
    identity = load_identity(chosen.identity_loss, cfg.weights_dir) if wanted else None
    return WeightedLosses(weights, trunk("dists", "l2"), identity, trunk("lpips", "max"))
