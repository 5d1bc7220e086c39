"""Stage 1: HQ dictionary, LQ dictionary, their association; exported, and cached."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from safetensors.torch import load_file, save_file

from datamodules.faces import FaceDataModule
from experiments.cli.ranks import is_follower
from experiments.pipelines.build import build_datamodule, build_perceptual, plain, vq_config
from experiments.pipelines.fitting import FitSettings, barrier, fit, seed_everything
from lightning_modules.association import DictionaryAssociationModule
from lightning_modules.dictionary import (
    DictionarySettings,
    DictionaryTraining,
    VQDictionaryModule,
)
from lightning_modules.stepped import StepSettings
from osdface.checkpoints.export import read_config, save_vre
from osdface.errors import UserError
from osdface.files import atomic_folder, atomic_path, read_json, write_json
from osdface.networks.autoencoder import VQAutoencoder, VQConfig
from osdface.networks.discriminators import PatchDiscriminator
from osdface.networks.embedder import VisualRepresentationEmbedder
from osdface.paths import find_weight

EXPORT = "export"
DOMAINS = ("hq", "lq")


def dictionary_file(domain: str) -> str:
    """Returns the name of an autoencoder's weights in a stage-1 export."""
    return f"dictionary_{domain}.safetensors"


def build_data(cfg: DictConfig) -> FaceDataModule:
    """Builds the data of stage 1, whose degradation is not that of stage 2 (D)."""
    chosen = cfg.scale.stage1
    degradation = plain(cfg.data.degradation) | {"preset": chosen.preset}
    return build_datamodule(cfg, chosen.batch_size, degradation=degradation)


def build_training(cfg: DictConfig, own_steps: int) -> DictionaryTraining:
    """Builds one autoencoder with discriminator and losses; ``own_steps`` are all it will see."""
    chosen = cfg.scale.stage1
    start = chosen.discriminator_start
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


def load_dictionary(folder: Path, domain: str, config: VQConfig) -> VQAutoencoder:
    """Reads one autoencoder of a stage-1 export; its sizes must be those of the scale."""
    path = folder / dictionary_file(domain)
    if not path.is_file():
        raise UserError(f"{folder} has no {path.name}: name the export of a stage-1 run.")
    found = VQConfig.from_dict(read_config(folder)["vre"])
    if found != config:
        raise UserError(f"The dictionaries in {folder} have sizes {found}, the scale has {config}.")
    autoencoder = VQAutoencoder(config)
    autoencoder.load_state_dict({key: value.float() for key, value in load_file(path).items()})
    return autoencoder


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


def _start(cfg: DictConfig) -> Path | None:
    """Returns the export that stage 1 starts from, None to start from nothing."""
    source = cfg.init_from or cfg.scale.vre.init_from
    return None if source is None else find_weight(str(source), cfg.weights_dir)


def train_dictionary(
    cfg: DictConfig, domain: str, run_dir: Path, start: Path | None
) -> tuple[VQAutoencoder, dict[str, float]]:
    """Trains one dictionary by self-reconstruction (lambda_assoc 0)."""
    seed_everything(cfg)
    steps = cfg.scale.stage1[f"{domain}_steps"]
    training = build_training(cfg, steps + cfg.scale.stage1.association_steps)
    if start is not None:
        training.autoencoder = load_dictionary(start, domain, vq_config(cfg))
    module = VQDictionaryModule(training, _step_settings(cfg, steps), domain, int(cfg.seed))
    data = build_data(cfg)
    settings = _fit_settings(cfg, f"{domain} dictionary", steps, f"{domain}/psnr")
    figures = fit(cfg, module, data, run_dir, settings)
    return training.autoencoder, figures


def train_association(
    cfg: DictConfig, autoencoders: dict[str, VQAutoencoder], run_dir: Path
) -> dict[str, float]:
    """Trains both dictionaries on, associated (lambda_assoc 1)."""
    seed_everything(cfg)
    chosen = cfg.scale.stage1
    trainings, earlier = {}, {}
    for domain in DOMAINS:
        earlier[domain] = int(chosen[f"{domain}_steps"])
        trainings[domain] = build_training(cfg, earlier[domain] + chosen.association_steps)
        trainings[domain].autoencoder = autoencoders[domain]
    module = DictionaryAssociationModule(
        trainings["hq"],
        trainings["lq"],
        _step_settings(cfg, chosen.association_steps),
        chosen.association_weight,
        earlier,
        int(cfg.seed),
    )
    data = build_data(cfg)
    settings = _fit_settings(
        cfg, "association", chosen.association_steps, "association/top1_lq_to_hq"
    )
    return fit(cfg, module, data, run_dir, settings)


def save_export(
    folder: Path,
    cfg: DictConfig,
    autoencoders: dict[str, VQAutoencoder],
    figures: dict[str, float],
) -> None:
    """Writes the VRE and whole dictionaries atomically as an export folder."""
    barrier()
    if folder.exists() or is_follower():
        barrier()
        return
    with atomic_folder(folder) as temporary:
        lq = autoencoders["lq"]
        embedder = VisualRepresentationEmbedder.from_autoencoder_state(
            lq.config, lq.embedder_state()
        )
        facts: dict[str, Any] = {
            "made_by": f"python -m experiments.run experiment={cfg.experiment} seed={cfg.seed}",
            "data": plain(cfg.data),
            "stage1": plain(cfg.scale.stage1),
            "figures": figures,
        }
        save_vre(temporary, lq.config, embedder.state_dict(), facts)
        for domain, autoencoder in autoencoders.items():
            state = {
                k: v.half() if cfg.scale.stage1.half_export and v.is_floating_point() else v
                for k, v in autoencoder.state_dict().items()
            }
            save_file(state, temporary / dictionary_file(domain))
    barrier()


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


def run_vre(cfg: DictConfig, output_dir: Path) -> dict[str, float]:
    """Trains HQ, then LQ, then both associated, and writes ``export``."""
    start = _start(cfg)
    figures: dict[str, float] = {}
    autoencoders: dict[str, VQAutoencoder] = {}
    for domain in DOMAINS:
        folder = output_dir / f"{domain}_dictionary"
        part = folder / dictionary_file(domain)

        def train(domain: str = domain, folder: Path = folder, part: Path = part) -> dict:
            autoencoder, measured = train_dictionary(cfg, domain, folder, start)
            if not is_follower():
                with atomic_path(part) as temporary:
                    save_file(autoencoder.state_dict(), temporary)
            barrier()
            return measured

        figures |= _once(folder, f"{domain} dictionary", train)
        autoencoders[domain] = VQAutoencoder(vq_config(cfg))
        autoencoders[domain].load_state_dict(load_file(part))
    if cfg.scale.stage1.association_steps:
        figures |= train_association(cfg, autoencoders, output_dir / "association")
    save_export(output_dir / EXPORT, cfg, autoencoders, figures)
    return figures


def run_dictionaries(cfg: DictConfig, output_dir: Path) -> dict[str, float]:
    """Trains the dictionaries without association."""
    own = cfg.copy()
    own.scale.stage1.association_steps = 0
    return run_vre(own, output_dir)


def run_association(cfg: DictConfig, output_dir: Path) -> dict[str, float]:
    """Goes on from the dictionaries in ``init_from``."""
    start = _start(cfg)
    if start is None:
        raise UserError("association needs init_from=FOLDER, an export of vq_dictionary.")
    autoencoders = {d: load_dictionary(start, d, vq_config(cfg)) for d in DOMAINS}
    figures = train_association(cfg, autoencoders, output_dir / "association")
    save_export(output_dir / EXPORT, cfg, autoencoders, figures)
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
