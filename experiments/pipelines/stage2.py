"""Stage 2: one restorer, or the variants of an ablation, on a shared stage 1."""

from pathlib import Path

from omegaconf import DictConfig

from callbacks import AccuracyBounds
from datamodules.faces import FaceDataModule
from experiments.cli.variants import job_name
from experiments.pipelines.budget import budgeted, seconds_allowed
from experiments.pipelines.build import (
    base_folder,
    build_datamodule,
    build_losses,
    build_metrics,
    loss_weights,
    open_base,
    plain,
)
from experiments.pipelines.critics import build_critics, image_weights
from experiments.pipelines.fitting import FitSettings, check_gpus, fit, seed_everything
from experiments.pipelines.initial import initial_folder, started_from
from experiments.pipelines.methods import method_configs
from experiments.pipelines.needed import check_weights
from experiments.pipelines.prompts import (
    check_prompts,
    ensure_vres,
    prompt_fingerprints,
    prompt_inputs,
)
from experiments.pipelines.references import write_references
from lightning_modules.distillation import OneStepDistillationModule
from lightning_modules.stepped import StepSettings
from osdface.checkpoints.export import save_restorer
from osdface.checkpoints.initial import load_initial
from osdface.errors import UserError
from osdface.files import atomic_folder
from osdface.networks.adaptation import Adaptation, adapt, encoder_targets, layer_state
from osdface.networks.base import DiffusionBase
from osdface.networks.efficiency import Efficiency, apply_efficiency
from osdface.networks.generator import OneStepGenerator
from osdface.networks.latents import LatentCodec
from osdface.networks.lora import DEFAULT_TARGETS
from osdface.networks.prompts import build_prompt_source

EXPORT = "export"


def adaptation(cfg: DictConfig, codec: LatentCodec) -> Adaptation:
    """Returns which layers of the base are trained."""
    chosen = cfg.scale.stage2
    sizes = {"rank": chosen.lora_rank, "alpha": chosen.lora_alpha}
    of_vae = plain(chosen.lora_vae_targets)
    return Adaptation(
        {**sizes, "targets": plain(chosen.lora_targets) or list(DEFAULT_TARGETS)},
        {**sizes, "targets": encoder_targets(codec, of_vae)} if of_vae else {},
        tuple(plain(chosen.trained_layers)),
    )


def build_generator(cfg: DictConfig, base: DiffusionBase) -> OneStepGenerator:
    """Builds the generator with fresh LoRA and a fresh prompt source on a frozen base.

    A critic that shares the base's weights must be built before.
    """
    inputs = prompt_inputs(cfg, base)
    # Again, since a VRE draws weights before it reads its own: LoRA and convolutions start alike
    # with every prompt.
    seed_everything(cfg)
    adapt(base, adaptation(cfg, base.codec))
    source = build_prompt_source(prompt_dim=base.prompt_dim, **inputs)
    return OneStepGenerator(base, source, cfg.scale.stage2.timestep)


def efficiency(cfg: DictConfig) -> Efficiency:
    """Returns the switches of a step; ``frozen_dtype=auto`` is what autocast computes in."""
    chosen = plain(cfg.scale.stage2.efficiency)
    casts = str(cfg.trainer.precision).startswith("bf16")
    if chosen["frozen_dtype"] == "auto":
        chosen["frozen_dtype"] = "bfloat16" if casts else "float32"
    if chosen["frozen_dtype"] != "float32" and not casts:
        raise UserError(
            f"scale.stage2.efficiency.frozen_dtype={chosen['frozen_dtype']} needs "
            "trainer.precision=bf16-mixed: nothing would cast these weights back."
        )
    return Efficiency(**{**chosen, "compile": tuple(chosen["compile"])})


def trained_weights(cfg: DictConfig) -> dict[str, float]:
    """Returns the weight of every term; UserError where a training would have none."""
    weights = loss_weights(cfg)
    if not weights and cfg.mode == "fit":
        raise UserError(
            "All losses weigh 0: give at least one term a weight, such as losses.mse=1."
        )
    return weights


def build_module(cfg: DictConfig, base: DiffusionBase) -> OneStepDistillationModule:
    """Builds the stage-2 module with the variant's losses; weights depend on ``seed`` alone."""
    chosen = cfg.scale.stage2
    weights = trained_weights(cfg)
    critics = build_critics(cfg, base, weights)
    # Again, so that the generator starts alike with and without critics.
    seed_everything(cfg)
    generator = build_generator(cfg, base)
    settings = StepSettings(
        chosen.steps,
        chosen.learning_rate,
        chosen.warmup_steps,
        chosen.schedule,
        chosen.clip,
        chosen.accumulate,
        chosen.max_skipped,
        chosen.weight_decay,
        seconds_allowed(cfg),
    )
    module = OneStepDistillationModule(
        generator,
        build_losses(cfg, image_weights(weights)),
        build_metrics(cfg),
        settings,
        critics,
        int(cfg.seed),
        chosen.samples,
        chosen.sample_latent,
        efficiency(cfg),
        chosen.log_gradients_every,
    )
    apply_efficiency(
        module.efficiency,
        generator,
        module.losses,
        module.discriminator,
        keep_graph=bool(chosen.log_gradients_every),
        regulariser=module.regulariser,
    )
    prompt = prompt_fingerprints(generator.prompt_source)
    module.fingerprints = {"base": base.fingerprint} | prompt
    return module


def build_data(cfg: DictConfig) -> FaceDataModule:
    """Builds the data of stage 2."""
    chosen = cfg.scale.stage2
    return build_datamodule(cfg, chosen.batch_size, val_batch_size=chosen.val_batch_size)


def run_variant(cfg: DictConfig, run_dir: Path) -> dict[str, float]:
    """Trains one variant and writes its export; returns the last validation's figures."""
    cfg = budgeted(started_from(cfg))
    chosen, name = cfg.scale.stage2, job_name(cfg)
    base = open_base(cfg)
    module = build_module(cfg, base)
    if (start := initial_folder(cfg)) is not None:
        load_initial(start, module.generator, base.fingerprint)
    settings = FitSettings(
        label=name if cfg.seeds is None else f"{name} seed {cfg.seed}",
        job_type="stage2",
        val_every=min(chosen.val_every, chosen.steps),
        log_every=chosen.log_every,
        checkpoint_every=chosen.checkpoint_every,
        metric=chosen.best_metric,
        mode=chosen.best_mode,
        ema_decay=chosen.ema_decay,
        accuracy=AccuracyBounds(**plain(chosen.discriminator_watch)),
    )
    figures = fit(cfg, module, build_data(cfg), run_dir, settings)
    export = run_dir / EXPORT
    if module.trainer.is_global_zero and not export.exists():
        identity = {"path": str(cfg.base.path), "fingerprint": base.fingerprint}
        facts = {"scale": cfg.scale.name, "resolution": cfg.scale.resolution, "figures": figures}
        facts["dictionary"] = cfg.vre.dictionary
        facts["method"] = cfg.method.name
        trained = adaptation(cfg, base.codec)
        with atomic_folder(export) as temporary:
            save_restorer(temporary, module.generator, trained, identity, facts)
    return figures


def prepare(cfg: DictConfig, output_dir: Path) -> None:
    """Makes what all variants share: data, stage 1 and the reference rows; idempotent."""
    cfg = started_from(cfg)
    seed_everything(cfg)
    # What can be missing comes first: an hour of drawing or training must not end in a sentence.
    check_gpus(cfg)
    check_weights(cfg)
    base = open_base(cfg)
    build_metrics(cfg)
    check_prompts(cfg, base.prompt_dim)
    methods = method_configs(cfg)
    for own in methods:
        layer_state(base.unet, adaptation(own, base.codec).trained_layers)
    data = build_data(cfg)
    data.prepare_data()
    data.setup()
    ensure_vres(cfg, base.fingerprint)
    references = output_dir / "references"
    if not (references / "metrics.json").is_file():
        seed_everything(cfg)
        # Of several methods the first one's: a VRE that none of them has would cost a stage 1.
        write_references(cfg, build_generator(methods[0], base), data, references)


def run(cfg: DictConfig, output_dir: Path) -> dict[str, float]:
    """Trains one restorer."""
    # Only to say at once what is missing.
    if not cfg.base.random:
        base_folder(cfg)
    started_from(cfg)
    build_losses(cfg, image_weights(trained_weights(cfg)))
    prepare(cfg, output_dir)
    return run_variant(cfg, output_dir)
