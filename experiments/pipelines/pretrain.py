"""Makes the tiny models that are shipped: stand-ins, VAE, base and dictionaries."""

import shlex
import shutil
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file

from datamodules.faces import FaceDataModule
from datamodules.portraits import ATTRIBUTES
from experiments.pipelines import stage1
from experiments.pipelines.build import build_datamodule, build_perceptual, plain
from experiments.pipelines.fitting import FitSettings, fit, seed_everything
from lightning_modules.pretraining import DiffusionPretrainingModule, VAEPretrainingModule
from lightning_modules.stand_ins import IdentityPretrainingModule, PerceptualPretrainingModule
from lightning_modules.stepped import StepSettings
from osdface.errors import UserError
from osdface.files import atomic_folder, write_json
from osdface.networks.base import build_base, load_vae, save_base
from osdface.networks.caption import CaptionEmbedding
from osdface.networks.latents import LatentCodec
from osdface.networks.tiny_identity import ArcMarginHead, TinyIdentityNetwork
from osdface.networks.tiny_perceptual import TinyPerceptualHeads, TinyPerceptualNetwork
from osdface.paths import find_weight

EXPORT = "export"


def _population(cfg: DictConfig) -> dict[str, Any]:
    """Returns what differs from ``data.*``: portraits of other people than the experiments'."""
    if cfg.data.kind != "portraits":
        return {}
    chosen = cfg.scale.pretrain
    return {
        "data_seed": chosen.seed,
        "identities": chosen.identities,
        "variations": chosen.variations,
        "val_variations": chosen.val_variations,
    }


def _data(cfg: DictConfig, batch_size: int, attributes: bool) -> FaceDataModule:
    labelled = attributes and cfg.data.kind == "portraits"
    return build_datamodule(cfg, batch_size, with_attributes=labelled, **_population(cfg))


def _steps(cfg: DictConfig, part: str) -> StepSettings:
    chosen = cfg.scale.pretrain
    return StepSettings(
        max_steps=chosen[f"{part}_steps"],
        learning_rate=chosen[f"{part}_learning_rate"],
        warmup_steps=min(200, chosen[f"{part}_steps"] // 10),
        schedule="cosine",
        clip=1.0,
    )


def _settings(cfg: DictConfig, part: str, metric: str, mode: str, shown: str) -> FitSettings:
    chosen = cfg.scale.pretrain
    return FitSettings(
        label=f"pretrain_{part}",
        job_type="pretrain",
        val_every=min(chosen.val_every, chosen[f"{part}_steps"]),
        log_every=chosen.log_every,
        checkpoint_every=chosen.val_every,
        metric=metric,
        mode=mode,
        shown=(shown,),
        ema_decay=chosen.ema_decay if part in ("vae", "base") else 0.0,
    )


def _command(cfg: DictConfig) -> str:
    words = [f"experiment={cfg.experiment}", f"scale={cfg.scale.name}", f"seed={cfg.seed}"]
    if cfg.init_from is not None:
        words.append(f"init_from={cfg.init_from}")
    return shlex.join(["python", "-m", "experiments.run", *words])


def _card(cfg: DictConfig, folder: Path, figures: dict[str, float]) -> None:
    """Writes how a model was made beside it."""
    write_json(
        folder / "training.json",
        {
            "command": _command(cfg),
            "data": plain(cfg.data) | _population(cfg),
            "pretrain": plain(cfg.scale.pretrain),
            "figures_on_held_out_people": figures,
        },
    )


def pretrain_vae(cfg: DictConfig, output_dir: Path) -> dict[str, float]:
    """Trains the VAE and writes ``export/vae``."""
    chosen = cfg.scale.pretrain
    vae = AutoencoderKL(**plain(cfg.scale.base.vae))
    perceptual = None
    if chosen.vae_perceptual:
        perceptual = build_perceptual(cfg, "dists", cfg.scale.stage2.perceptual_loss)
    module = VAEPretrainingModule(
        vae, _steps(cfg, "vae"), chosen.vae_kl, perceptual, chosen.vae_perceptual
    )
    data = _data(cfg, chosen.vae_batch_size, attributes=False)
    settings = _settings(cfg, "vae", "psnr", "max", "loss/l1")
    figures = fit(cfg, module, data, output_dir, settings)
    # Latents of unit variance, which the noise schedule assumes, as in Stable Diffusion.
    vae.register_to_config(scaling_factor=1.0 / figures["latent_std"])
    vae.save_pretrained(output_dir / EXPORT / "vae")
    _card(cfg, output_dir / EXPORT / "vae", figures)
    return figures


def pretrain_base(cfg: DictConfig, output_dir: Path) -> dict[str, float]:
    """Trains the noise predictor in the latents of ``init_from`` and writes ``export``."""
    chosen = cfg.scale.pretrain
    if cfg.init_from is None:
        raise UserError("pretrain_base needs init_from=FOLDER, a VAE made by pretrain_vae.")
    base = build_base(plain(cfg.scale.base.unet), plain(cfg.scale.base.vae))
    base.codec = LatentCodec(load_vae(find_weight(str(cfg.init_from), cfg.weights_dir)))
    caption = CaptionEmbedding([len(names) for names in ATTRIBUTES.values()], base.prompt_dim)
    module = DiffusionPretrainingModule(base, caption, _steps(cfg, "base"), chosen.caption_dropout)
    data = _data(cfg, chosen.batch_size, attributes=True)
    if chosen.cache_latents:
        device = "cuda" if cfg.trainer.accelerator == "gpu" else "cpu"
        data.prepare_data()
        data.keep_latents(base.codec.eval().to(device).encode, bool(cfg.progress), device)
    settings = _settings(cfg, "base", "noise", "min", "loss/noise")
    figures = fit(cfg, module, data, output_dir, settings)
    export = output_dir / EXPORT
    with atomic_folder(export) as temporary:
        save_base(base, temporary, half_unet=True)
        (temporary / "caption").mkdir()
        save_file(caption.state_dict(), temporary / "caption" / "caption.safetensors")
        _card(cfg, temporary, figures)
    return figures


def pretrain_identity(cfg: DictConfig, output_dir: Path) -> dict[str, float]:
    """Trains one identity network and writes ``export/identity.safetensors``."""
    chosen = cfg.scale.pretrain
    network = TinyIdentityNetwork()
    module = IdentityPretrainingModule(
        network, ArcMarginHead(chosen.identities), _steps(cfg, "identity")
    )
    data = _data(cfg, chosen.identity_batch_size, attributes=True)
    settings = _settings(cfg, "identity", "accuracy", "max", "loss/arcface")
    figures = fit(cfg, module, data, output_dir, settings)
    network.save(output_dir / EXPORT / "identity.safetensors", **_notes(cfg, figures))
    return figures


def pretrain_perceptual(cfg: DictConfig, output_dir: Path) -> dict[str, float]:
    """Trains the perceptual network and writes ``export/perceptual.safetensors``."""
    network = TinyPerceptualNetwork()
    classes = {name: len(names) for name, names in ATTRIBUTES.items()}
    heads = TinyPerceptualHeads(network.channels, classes)
    module = PerceptualPretrainingModule(
        network, heads, list(ATTRIBUTES), _steps(cfg, "perceptual")
    )
    data = _data(cfg, cfg.scale.pretrain.batch_size, attributes=True)
    settings = _settings(cfg, "perceptual", "accuracy", "max", "loss/attributes")
    figures = fit(cfg, module, data, output_dir, settings)
    network.save(output_dir / EXPORT / "perceptual.safetensors", **_notes(cfg, figures))
    return figures


def _notes(cfg: DictConfig, figures: dict[str, float]) -> dict[str, str]:
    measured = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
    return {"command": _command(cfg), "figures": measured, "data": str(cfg.data.kind)}


def pretrain_tiny(cfg: DictConfig, output_dir: Path) -> dict[str, float]:
    """Makes all of ``osdface/assets/tiny`` in order and collects it in ``export``."""
    export, figures = output_dir / EXPORT, {}
    export.mkdir(parents=True, exist_ok=True)

    def part(name: str, function: Any, **changes: Any) -> Path:
        """Runs one part as its own command does: from the seed, whatever ran before."""
        own = cfg.copy()
        for key, value in changes.items():
            OmegaConf.update(own, key, value)
        seed_everything(own)
        folder = output_dir / name
        result = function(own, folder)
        figures.update({f"{name}/{key}": value for key, value in result.items()})
        return folder / EXPORT

    made = part("perceptual", pretrain_perceptual)
    shutil.copy(made / "perceptual.safetensors", export)
    trunk = str(export / "perceptual.safetensors")  # and not the shipped one
    for letter, seed in (("a", 1), ("b", 2)):
        made = part(f"identity_{letter}", pretrain_identity, seed=seed)
        shutil.copy(made / "identity.safetensors", export / f"identity_{letter}.safetensors")
    vae = part("vae", pretrain_vae, **{"scale.stage2.perceptual_loss": trunk}) / "vae"
    made = part("base", pretrain_base, init_from=str(vae))
    shutil.copytree(made, export / "base", dirs_exist_ok=True)
    shutil.copy(vae / "training.json", export / "base" / "vae")
    made = part("vre", stage1.run_from_nothing, **{"scale.stage1.perceptual": trunk})
    shutil.copytree(made, export / "vre", dirs_exist_ok=True)
    return figures


_RUNS = {
    "pretrain_vae": pretrain_vae,
    "pretrain_base": pretrain_base,
    "pretrain_identity": pretrain_identity,
    "pretrain_perceptual": pretrain_perceptual,
    "pretrain_vre": stage1.run_from_nothing,
    "pretrain_tiny": pretrain_tiny,
}


def run(cfg: DictConfig, output_dir: Path) -> dict[str, float]:
    """Runs the pretraining that ``cfg.task`` names."""
    seed_everything(cfg)
    return _RUNS[cfg.task](cfg, output_dir)
