"""The latent diffusion base: UNet, VAE and noise schedule, from a diffusers folder or random."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDPMScheduler,
    UNet2DConditionModel,
)
from torch import Tensor

from osdface.errors import UserError
from osdface.files import read_json, sha256_file, write_json
from osdface.networks.base_files import load_part
from osdface.networks.latents import LatentCodec
from osdface.networks.taesd import is_taesd, load_taesd

# Stable Diffusion 2.1-base, from its public configuration (R): 865.910724 M and 83.653863 M.
SD21_UNET: dict[str, Any] = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
SD21_VAE: dict[str, Any] = {
    "sample_size": 512,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "scaling_factor": 0.18215,
}
SD_SCHEDULE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "epsilon",
    "clip_sample": False,
}


@dataclass
class DiffusionBase:
    """A frozen latent diffusion model that stage 2 distils into one step.

    Attributes:
        unet: Noise predictor with cross-attention.
        codec: The VAE behind one protocol.
        alphas_cumprod: (1000,) float64; the x0 formula divides by its square root.
        fingerprint: Short hash of all weights; "random" where they are random.
    """

    unet: UNet2DConditionModel
    codec: LatentCodec
    alphas_cumprod: Tensor
    fingerprint: str

    @property
    def prompt_dim(self) -> int:
        """The cross-attention width, which the prompt must have."""
        return int(self.unet.config.cross_attention_dim)


def alphas_cumprod(scheduler: DDPMScheduler) -> Tensor:
    """Returns the schedule's cumulative alphas in float64, recomputed from its betas' formula."""
    config = scheduler.config
    if config.beta_schedule != "scaled_linear":
        return scheduler.alphas_cumprod.double()
    start, end = config.beta_start**0.5, config.beta_end**0.5
    steps = config.num_train_timesteps
    betas = torch.linspace(start, end, steps, dtype=torch.float64).square()
    return (1 - betas).cumprod(0)


def _check(unet: UNet2DConditionModel, codec: LatentCodec, prediction: str, where: str) -> None:
    config = unet.config
    if prediction != "epsilon":
        raise UserError(
            f"The base {where} predicts {prediction!r}, but one-step restoration needs "
            "'epsilon': use a -base model (512 px) such as Stable Diffusion 2.1-base."
        )
    if config.in_channels != codec.channels or config.out_channels != codec.channels:
        raise UserError(
            f"The base {where} has a UNet for {config.in_channels} latent channels in and "
            f"{config.out_channels} out but a VAE with {codec.channels}: both must come from the "
            "same model."
        )
    if config.class_embed_type or config.addition_embed_type:
        raise UserError(
            f"The base {where} has a UNet that wants more than a prompt (as SDXL's does): use "
            "Stable Diffusion 2.1-base."
        )
    _check_scaling(unet, codec, where)


def _check_scaling(unet: UNet2DConditionModel, codec: LatentCodec, where: str) -> None:
    """Refuses a foreign VAE beside Stable Diffusion's UNet: its latents have another size."""
    wanted = SD21_VAE["scaling_factor"]
    is_sd = tuple(unet.config.block_out_channels) == SD21_UNET["block_out_channels"]
    if not is_sd or not isinstance(codec.vae, AutoencoderKL):
        return  # AutoencoderTiny of Stable Diffusion scales by 1
    if abs(codec.scaling_factor - wanted) > 1e-6 or codec.shift_factor:
        raise UserError(
            f"The base {where} has a VAE with scaling_factor {codec.scaling_factor:g}, but Stable "
            f"Diffusion's UNet was trained on latents scaled by {wanted}: both must come from the "
            "same model."
        )


def folder_fingerprint(folder: Path) -> str:
    """Returns a short hash over all safetensors, else .bin, files below ``folder``."""
    digest = hashlib.sha256()
    files = sorted(folder.rglob("*.safetensors"))
    for path in files or sorted(folder.rglob("*.bin")):
        digest.update(f"{path.relative_to(folder)}:{sha256_file(path)}\n".encode())
    return digest.hexdigest()[:16]


def state_fingerprint(state: dict[str, Tensor]) -> str:
    """Returns a short hash over the names and bytes of tensors."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode() + state[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def load_vae(folder: str | Path) -> AutoencoderKL | AutoencoderTiny:
    """Loads a VAE folder (config.json and safetensors, or TAESD's two files) in float32."""
    folder = Path(folder)
    if is_taesd(folder):
        return load_taesd(folder)
    if not (folder / "config.json").is_file():
        raise UserError(f"No VAE at {folder}: it needs config.json and safetensors weights.")
    name = read_json(folder / "config.json").get("_class_name", "AutoencoderKL")
    model = AutoencoderTiny if name == "AutoencoderTiny" else AutoencoderKL
    return load_part(model, folder)


def load_base(
    path: str | Path, unet: dict[str, Any] | None = None, vae: dict[str, Any] | None = None
) -> DiffusionBase:
    """Loads a base from a diffusers folder with ``unet/``, ``vae/`` and ``scheduler/``, or a file.

    Args:
        path: The folder, or Stable Diffusion in one ``.safetensors`` or ``.ckpt`` file.
        unet: Of a single file, which does not tell its sizes: arguments of
            ``UNet2DConditionModel``; None for those of Stable Diffusion 2.1-base.
        vae: Likewise of ``AutoencoderKL``.

    Raises:
        UserError: A part is missing, the model does not predict epsilon, or parts do not fit.
    """
    folder = Path(path)
    if folder.is_file():
        return _load_file(folder, unet or SD21_UNET, vae or SD21_VAE)
    for part in ("unet/config.json", "vae/config.json", "scheduler/scheduler_config.json"):
        if not (folder / part).is_file():
            raise UserError(
                f"The base {folder} has no {part}: base.path= must name a diffusers folder with "
                "unet/, vae/ and scheduler/, or a single .safetensors or .ckpt file."
            )
    model = load_part(UNet2DConditionModel, folder / "unet")
    scheduler = DDPMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
    codec = LatentCodec(load_vae(folder / "vae"))
    _check(model, codec, scheduler.config.prediction_type, str(folder))
    return DiffusionBase(model, codec, alphas_cumprod(scheduler), folder_fingerprint(folder))


def _load_file(path: Path, unet: dict[str, Any], vae: dict[str, Any]) -> DiffusionBase:
    # Only now: that package imports this module.
    from osdface.checkpoints.single_file import read_single_file

    model, autoencoder, prediction = read_single_file(path, unet, vae)
    codec = LatentCodec(autoencoder)
    _check(model, codec, prediction, str(path))
    alphas = alphas_cumprod(DDPMScheduler(**SD_SCHEDULE))
    return DiffusionBase(model, codec, alphas, sha256_file(path)[:16])


def build_base(unet: dict[str, Any] | None = None, vae: dict[str, Any] | None = None):
    """Builds a base with random weights, SD 2.1 size by default; for measurements and training.

    Args:
        unet: Keyword arguments of ``UNet2DConditionModel``.
        vae: Keyword arguments of ``AutoencoderKL``.
    """
    model = UNet2DConditionModel(**(unet or SD21_UNET))
    codec = LatentCodec(AutoencoderKL(**(vae or SD21_VAE)))
    _check(model, codec, "epsilon", "(random)")
    return DiffusionBase(model, codec, alphas_cumprod(DDPMScheduler(**SD_SCHEDULE)), "random")


def _scheduler(wanted: Tensor) -> DDPMScheduler:
    """Stable Diffusion's schedule, or where a base has another one, that one beta by beta."""
    scheduler = DDPMScheduler(**SD_SCHEDULE)
    own = alphas_cumprod(scheduler)
    wanted = wanted.detach().double().cpu()
    if own.shape == wanted.shape and torch.allclose(own, wanted, rtol=0, atol=1e-7):
        return scheduler
    betas = 1 - wanted / torch.cat([torch.ones(1, dtype=wanted.dtype), wanted[:-1]])
    options = SD_SCHEDULE | {"beta_schedule": "linear", "num_train_timesteps": len(betas)}
    return DDPMScheduler(**options, trained_betas=betas.tolist())


def save_base(base: DiffusionBase, folder: str | Path, half_unet: bool = False) -> None:
    """Writes a base as a diffusers folder that :func:`load_base` reads.

    Args:
        base: What to save.
        folder: Target, created.
        half_unet: Whether the UNet is stored in float16 (half the size; loaded as float32).
    """
    folder = Path(folder)
    base.codec.vae.save_pretrained(folder / "vae")
    dtype = base.unet.dtype
    if half_unet:
        base.unet.half()
    base.unet.save_pretrained(folder / "unet")
    if half_unet:
        base.unet.to(dtype)
    _scheduler(base.alphas_cumprod).save_pretrained(folder / "scheduler")
    for part in ("vae", "unet"):
        config = read_json(folder / part / "config.json")
        config.pop("_name_or_path", None)  # a path of the machine that trained it
        if config.get("_class_name") == "AutoencoderTiny":
            config.pop("block_out_channels", None)  # written, then warned of
        write_json(folder / part / "config.json", config)
