"""``mode=validate|test checkpoint=``: the figures of weights that are there, nothing trained."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from datamodules.faces import FaceDataModule
from experiments.cli.ranks import is_follower
from experiments.pipelines import stage1, stage2
from experiments.pipelines.build import open_base, vq_config
from experiments.pipelines.critics import CRITICS
from experiments.pipelines.fitting import build_trainer, load_weights, seed_everything
from experiments.pipelines.initial import started_from, trained_keys
from experiments.pipelines.prompts import stage1_config
from experiments.pipelines.stage1_cache import cached_vre
from experiments.pipelines.stage1_parts import dictionary_file, find_dictionary, load_part
from lightning_modules.stepped import SteppedModule
from osdface.checkpoints.export import check_base
from osdface.checkpoints.initial import is_export, load_initial
from osdface.errors import UserError
from osdface.files import write_json
from osdface.networks.base import DiffusionBase
from osdface.networks.prompts import VISUAL_KINDS
from osdface.paths import find_weight
from osdface.pickles import load_pickle


def _own_vre(cfg: DictConfig, checkpoint: Path, base: DiffusionBase) -> DictConfig:
    """Returns the config with the VRE that the weights were trained with, and no critic."""
    cfg = stage1_config(cfg if checkpoint.is_dir() else started_from(cfg))
    losses = {term: 0.0 for term in CRITICS}
    changes = OmegaConf.create({"losses": losses})
    if checkpoint.is_dir():
        # An export or released files bring their own, and decide which layers have LoRA.
        changes = OmegaConf.create({"losses": losses, **trained_keys(checkpoint)})
    elif cfg.vre.checkpoint is None and not cfg.vre.random and cfg.vre.kind in VISUAL_KINDS:
        found = cached_vre(cfg, base.fingerprint)
        if found is None:
            raise UserError(
                f"{checkpoint} holds no VRE, and no stage 1 of this configuration is cached: "
                "give vre.checkpoint=FOLDER, or the export folder as checkpoint=."
            )
        changes.vre = {"checkpoint": str(found)}
    merged = OmegaConf.merge(cfg, changes)
    assert isinstance(merged, DictConfig)
    return merged


def evaluate_restorer(cfg: DictConfig, output_dir: Path) -> dict[str, float]:
    """Scores a stage-2 checkpoint, export folder or released files on the held-out pictures.

    With EMA it is the averaged weights of a checkpoint that are scored, as in its own validations.
    """
    checkpoint = find_weight(str(cfg.checkpoint), cfg.weights_dir).absolute()
    base = open_base(cfg)
    if checkpoint.is_dir() and is_export(checkpoint):
        check_base(checkpoint, base.fingerprint)
    state = None if checkpoint.is_dir() else load_pickle(checkpoint)
    own = _own_vre(cfg, checkpoint, base)
    module = stage2.build_module(own, base)
    if state is None:
        load_initial(checkpoint, module.generator, base.fingerprint)
    else:
        load_weights(state, module, str(checkpoint))
    if not is_follower():
        # What measures the figures stands beside them, stand-ins named.
        write_json(output_dir / "references" / "specification.json", module.metrics.specification())
    return _score(cfg, module, stage2.build_data(cfg))


def _score(cfg: DictConfig, module: SteppedModule, data: FaceDataModule) -> dict[str, float]:
    trainer = build_trainer(cfg, [], enable_progress_bar=bool(cfg.progress))
    call = trainer.validate if cfg.mode == "validate" else trainer.test
    # Not its loader alone: made before the trainer has it, every process would score all pictures.
    call(module, datamodule=data, verbose=False)
    return dict(module.validation_metrics)


def evaluate_dictionaries(cfg: DictConfig, output_dir: Path) -> dict[str, float]:
    """Scores a stage-1 checkpoint or export folder: both dictionaries, or the one it holds."""
    checkpoint = find_weight(str(cfg.checkpoint), cfg.weights_dir).absolute()
    seed_everything(cfg)
    if checkpoint.is_dir():
        module = _exported_dictionaries(cfg, checkpoint)
    else:
        module = _checkpointed_dictionaries(cfg, checkpoint)
    return _score(cfg, module, stage1.build_data(cfg))


def _module(cfg: DictConfig, domains: list[str], folder: Path | None = None) -> SteppedModule:
    trainings = {domain: stage1.build_training(cfg, domain) for domain in domains}
    if folder is not None:
        for domain, training in trainings.items():
            find_dictionary([folder], domain, vq_config(cfg))
            load_part(training, folder, domain)
    if len(domains) == 2:
        return stage1.association_module(cfg, trainings)
    return stage1.dictionary_module(cfg, domains[0], trainings[domains[0]])


def _exported_dictionaries(cfg: DictConfig, folder: Path) -> SteppedModule:
    domains = [domain for domain in stage1.DOMAINS if (folder / dictionary_file(domain)).is_file()]
    if not domains:
        raise UserError(f"{folder} holds no dictionary: name the export of a stage-1 run.")
    return _module(cfg, domains, folder)


def _checkpointed_dictionaries(cfg: DictConfig, checkpoint: Path) -> SteppedModule:
    state = load_pickle(checkpoint)
    domain = state.get("domain") if isinstance(state, dict) else None
    module = _module(cfg, [str(domain)] if domain else list(stage1.DOMAINS))
    load_weights(state, module, str(checkpoint))
    return module
