"""Stage 1: HQ dictionary, LQ dictionary, their association; exported, and cached."""

from collections.abc import Callable, Iterable
from pathlib import Path

from omegaconf import DictConfig

from datamodules.faces import FaceDataModule
from experiments.cli.ranks import is_follower
from experiments.pipelines.build import build_datamodule, build_perceptual, plain, vq_config
from experiments.pipelines.fitting import FitSettings, barrier, fit, seed_everything
from experiments.pipelines.stage1_parts import (
    find_dictionary,
    load_part,
    save_export,
    save_part,
    start_folders,
)
from lightning_modules.association import DictionaryAssociationModule
from lightning_modules.dictionary import (
    DictionarySettings,
    DictionaryTraining,
    VQDictionaryModule,
)
from lightning_modules.stepped import StepSettings
from osdface.errors import UserError
from osdface.files import read_json, write_json
from osdface.networks.autoencoder import VQAutoencoder
from osdface.networks.discriminators import PatchDiscriminator

EXPORT = "export"
DOMAINS = ("hq", "lq")


def build_data(cfg: DictConfig) -> FaceDataModule:
    """Builds the data of stage 1, whose degradation is not that of stage 2 (D).

    Its held-out pictures suffer the same, so that stage 1 does not depend on stage 2's.
    """
    chosen = cfg.scale.stage1
    degradation = plain(cfg.data.degradation) | {"preset": chosen.preset}
    changes = {"degradation": degradation, "val_degradation": degradation}
    return build_datamodule(cfg, chosen.batch_size, **changes)


def build_training(cfg: DictConfig, domain: str) -> DictionaryTraining:
    """Builds one autoencoder with discriminator and losses.

    Fractions count its steps in dictionary and association, whichever part runs now: parts that
    are run apart equal the whole.
    """
    chosen = cfg.scale.stage1
    start = chosen.discriminator_start
    own_steps = chosen[f"{domain}_steps"] + chosen.association_steps
    settings = DictionarySettings(
        discriminator_start=start if isinstance(start, int) else int(start * own_steps),
        swapped_commitment=chosen.swapped_commitment,
        restart_every=chosen.restart_every,
        restart_idle=chosen.restart_idle,
        restart_until=int(chosen.restart_until * own_steps),
    )
    discriminator = PatchDiscriminator(
        filters=chosen.discriminator_filters,
        layers=chosen.discriminator_layers,
        norm=chosen.discriminator_norm,
    )
    perceptual = build_perceptual(cfg, "lpips", chosen.perceptual)
    return DictionaryTraining(VQAutoencoder(vq_config(cfg)), discriminator, perceptual, settings)


def _step_settings(cfg: DictConfig, steps: int) -> StepSettings:
    chosen = cfg.scale.stage1
    return StepSettings(
        max_steps=steps,
        learning_rate=chosen.learning_rate,
        warmup_steps=chosen.warmup_steps,
        schedule=chosen.schedule,
        clip=chosen.clip,
        accumulate=chosen.accumulate,
    )


def _fit_settings(cfg: DictConfig, label: str, steps: int, metric: str) -> FitSettings:
    chosen = cfg.scale.stage1
    return FitSettings(
        label=label,
        job_type="stage1",
        val_every=min(chosen.val_every, steps),
        log_every=chosen.log_every,
        checkpoint_every=chosen.checkpoint_every,
        metric=metric,
        mode="max",
        shown=("loss/l1", "loss/hq/l1", "loss/association"),
    )


def dictionary_module(
    cfg: DictConfig, domain: str, training: DictionaryTraining
) -> VQDictionaryModule:
    """Builds the module that trains or validates one dictionary."""
    settings = _step_settings(cfg, cfg.scale.stage1[f"{domain}_steps"])
    return VQDictionaryModule(training, settings, domain, int(cfg.seed))


def association_module(
    cfg: DictConfig, trainings: dict[str, DictionaryTraining]
) -> DictionaryAssociationModule:
    """Builds the module that trains or validates both dictionaries together."""
    chosen = cfg.scale.stage1
    return DictionaryAssociationModule(
        trainings["hq"],
        trainings["lq"],
        _step_settings(cfg, chosen.association_steps),
        chosen.association_weight,
        {domain: int(chosen[f"{domain}_steps"]) for domain in DOMAINS},
        int(cfg.seed),
        bool(chosen.association_learned_temperature),
        bool(chosen.association_gather),
    )


def train_dictionary(
    cfg: DictConfig, domain: str, run_dir: Path, start: list[Path]
) -> tuple[DictionaryTraining, dict[str, float]]:
    """Trains one dictionary by self-reconstruction (lambda_assoc 0)."""
    seed_everything(cfg)
    steps = cfg.scale.stage1[f"{domain}_steps"]
    training = build_training(cfg, domain)
    if start:
        load_part(training, find_dictionary(start, domain, vq_config(cfg)), domain)
    module = dictionary_module(cfg, domain, training)
    data = build_data(cfg)
    settings = _fit_settings(cfg, f"{domain} dictionary", steps, f"{domain}/psnr")
    figures = fit(cfg, module, data, run_dir, settings)
    return training, figures


def train_association(
    cfg: DictConfig, folders: dict[str, Path], run_dir: Path
) -> tuple[dict[str, DictionaryTraining], dict[str, float]]:
    """Trains both dictionaries on, associated (lambda_assoc 1).

    Autoencoders and discriminators go on from ``folders``, domain -> folder. All optimizers start
    anew: an export holds no optimizer state, and parts run apart must equal the whole.
    """
    seed_everything(cfg)
    chosen = cfg.scale.stage1
    trainings = {domain: build_training(cfg, domain) for domain in DOMAINS}
    for domain, training in trainings.items():
        load_part(training, folders[domain], domain)
    module = association_module(cfg, trainings)
    data = build_data(cfg)
    settings = _fit_settings(
        cfg, "association", chosen.association_steps, "association/top1_lq_to_hq"
    )
    figures = fit(cfg, module, data, run_dir, settings)
    return trainings, figures


def _once(run_dir: Path, name: str, train: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Runs a part unless its figures are on disk already."""
    path = run_dir / "figures.json"
    if path.is_file():
        print(f"{name}: finished before", flush=True)
        return read_json(path)
    figures = train()
    if not is_follower():
        write_json(path, figures)
    barrier()
    return figures


def _train_dictionaries(
    cfg: DictConfig, output_dir: Path, domains: Iterable[str]
) -> tuple[dict[str, Path], dict[str, float]]:
    """Trains one dictionary after the other; returns their folders and figures."""
    start = start_folders(cfg)
    figures: dict[str, float] = {}
    folders = {domain: output_dir / f"{domain}_dictionary" for domain in domains}
    for domain, folder in folders.items():

        def train(domain: str = domain, folder: Path = folder) -> dict[str, float]:
            training, measured = train_dictionary(cfg, domain, folder, start)
            save_part(training, folder, domain)
            return measured

        figures |= _once(folder, f"{domain} dictionary", train)
    return folders, figures


def run_vre(cfg: DictConfig, output_dir: Path) -> dict[str, float]:
    """Trains HQ, then LQ, then both associated, and writes ``export``."""
    if not cfg.scale.stage1.association_steps:
        return run_dictionaries(cfg, output_dir)
    folders, figures = _train_dictionaries(cfg, output_dir, DOMAINS)
    trainings, measured = train_association(cfg, folders, output_dir / "association")
    save_export(output_dir / EXPORT, cfg, trainings, figures | measured)
    return figures | measured


def run_dictionaries(cfg: DictConfig, output_dir: Path) -> dict[str, float]:
    """Trains the dictionaries of ``domain`` without association."""
    domains = DOMAINS if cfg.domain == "both" else (str(cfg.domain),)
    folders, figures = _train_dictionaries(cfg, output_dir, domains)
    trainings = {domain: build_training(cfg, domain) for domain in domains}
    for domain, training in trainings.items():
        load_part(training, folders[domain], domain)
    save_export(output_dir / EXPORT, cfg, trainings, figures)
    return figures


def run_association(cfg: DictConfig, output_dir: Path) -> dict[str, float]:
    """Goes on from the dictionaries in ``init_from``."""
    start = start_folders(cfg)
    if not start:
        raise UserError(
            "association needs init_from=FOLDER, an export of vq_dictionary, or two exports as "
            "init_from=HQ_EXPORT,LQ_EXPORT."
        )
    folders = {domain: find_dictionary(start, domain, vq_config(cfg)) for domain in DOMAINS}
    trainings, figures = train_association(cfg, folders, output_dir / "association")
    save_export(output_dir / EXPORT, cfg, trainings, figures)
    return figures


def run_from_nothing(cfg: DictConfig, output_dir: Path) -> dict[str, float]:
    """Trains the shipped dictionaries: the pretraining's data and steps, random start."""
    own, chosen = cfg.copy(), cfg.scale.pretrain
    own.init_from = own.scale.vre.init_from = None
    if cfg.data.kind == "portraits":
        own.data.data_seed = chosen.seed
        for name in ("identities", "variations", "val_variations"):
            own.data[name] = chosen[name]
    for part in ("hq_steps", "lq_steps", "association_steps"):
        own.scale.stage1[part] = chosen[part]
    own.scale.stage1.val_every = chosen.val_every
    return run_vre(own, output_dir)


_RUNS = {"vq_dictionary": run_dictionaries, "association": run_association, "vre": run_vre}


def run(cfg: DictConfig, output_dir: Path) -> dict[str, float]:
    """Runs the part of stage 1 that ``cfg.task`` names."""
    return _RUNS[cfg.task](cfg, output_dir)
