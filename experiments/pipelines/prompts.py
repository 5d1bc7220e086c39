"""The prompt source of stage 2: which VRE it has, and what it makes of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.cli.groups import CONF
from experiments.cli.variants import VRE_GROUP, group_of
from experiments.pipelines.build import plain, vq_config
from experiments.pipelines.methods import compares_methods, method_configs
from experiments.pipelines.needed import active_terms
from experiments.pipelines.stage1_cache import ensure_vre
from experiments.pipelines.stage1_parts import dictionary_file, find_dictionary
from experiments.pipelines.texts import (
    negative_prompt,
    open_captions,
    tell_no_guidance,
    tell_stand_in,
    text_prompt,
)
from osdface.checkpoints.export import PROMPT_FILE, load_tensors, load_vre, read_config
from osdface.checkpoints.released import RELEASED_INPUT_RANGE, load_released_dictionary
from osdface.errors import UserError
from osdface.networks.autoencoder import VQConfig
from osdface.networks.base import DiffusionBase, state_fingerprint
from osdface.networks.embedder import VisualRepresentationEmbedder
from osdface.networks.prompts import TEXT_KINDS, VISUAL_KINDS


def stage1_config(cfg: DictConfig) -> DictConfig:
    """Returns the configuration whose stage 1 makes the VRE that ``cfg`` wants."""
    if cfg.vre.association:
        return cfg
    own = cfg.copy()
    changes = plain(cfg.scale.no_association)
    own.vre.association, own.vre.checkpoint = True, cfg.vre.unassociated
    own.scale.vre.init_from = changes.pop("init_from")
    for name, steps in changes.items():
        own.scale.stage1[name] = steps
    return own


def _variants(cfg: DictConfig) -> list[DictConfig]:
    """The configuration itself and, of a VRE ablation, that of each variant.

    Of a comparison of methods theirs alone: if none has a VRE, none is made.
    """
    if compares_methods(cfg):
        return method_configs(cfg)
    found = [cfg]
    if cfg.task == "ablation" and group_of(cfg.experiment) == VRE_GROUP:
        for name in cfg.variants:
            changes = OmegaConf.load(CONF / VRE_GROUP / f"{name}.yaml")
            found.append(OmegaConf.merge(cfg, changes))  # type: ignore[arg-type]
    return found


def stages1(cfg: DictConfig) -> Iterator[DictConfig]:
    """Yields the configurations of the different stages 1 that the run's variants need."""
    done = set()
    for own in _variants(cfg):
        needed = own.vre.kind in VISUAL_KINDS and not own.vre.random
        if needed and own.vre.association not in done:
            done.add(own.vre.association)
            yield stage1_config(own)


def ensure_vres(cfg: DictConfig, base_fingerprint: str) -> None:
    """Makes every VRE that the run's variants need, where it is neither given nor cached."""
    for own in stages1(cfg):
        ensure_vre(own, base_fingerprint)


def load_hq(source: Path) -> VisualRepresentationEmbedder:
    """Reads encoder and codebook of the HQ dictionary of a stage 1 as an embedder.

    Args:
        source: Export folder of stage 1, of a variant trained so, or ``associate_2.ckpt``.
    """
    if source.is_file():
        autoencoder = load_released_dictionary(source, "hq")
        config, state = autoencoder.config, autoencoder.embedder_state()
        input_range = RELEASED_INPUT_RANGE
    else:
        facts = read_config(source)
        if facts.get("dictionary") == "hq":
            return load_vre(source)
        config = VQConfig.from_dict(facts["vre"])
        folder = find_dictionary([source], "hq", config)
        kept = ("encoder.", "quant_conv.", "quantizer.codebook")
        tensors = load_tensors(folder / dictionary_file("hq"))
        state = {key: value.float() for key, value in tensors.items() if key.startswith(kept)}
        input_range = tuple(facts.get("input_range", (-1.0, 1.0)))
    embedder = VisualRepresentationEmbedder.from_autoencoder_state(config, state)
    embedder.input_range = input_range
    return embedder.requires_grad_(False).eval()


def build_embedder(cfg: DictConfig, base_fingerprint: str) -> VisualRepresentationEmbedder:
    """Returns the VRE that ``vre`` names; stage 1 makes it where it is not there."""
    if cfg.vre.random:
        embedder = VisualRepresentationEmbedder(vq_config(cfg))
    else:
        source = ensure_vre(stage1_config(cfg), base_fingerprint)
        embedder = load_hq(source) if cfg.vre.dictionary == "hq" else load_vre(source)
    if cfg.scale.resolution // 2 ** (len(embedder.config.channels) - 1) < 1:
        raise UserError(f"The VRE is too deep for pictures of {cfg.scale.resolution} px.")
    return embedder


def prompt_inputs(cfg: DictConfig, base: DiffusionBase) -> dict[str, Any]:
    """Returns what ``build_prompt_source`` takes, its frozen parts read or made."""
    kind = cfg.vre.kind
    inputs: dict[str, Any] = {
        "kind": kind,
        "hidden_dim": cfg.scale.vre.prompt_hidden_dim,
        "heads": cfg.scale.stage2.prompt_heads,
    }
    if kind in VISUAL_KINDS:
        inputs["embedder"] = build_embedder(cfg, base.fingerprint)
    if kind in TEXT_KINDS:
        inputs["text"] = text_prompt(cfg, base.prompt_dim)
    if kind == "captions":
        inputs["captions"] = open_captions(cfg)
    return inputs


def check_prompts(cfg: DictConfig, prompt_dim: int) -> None:
    """Reads what the prompts need, and says where something stands in for a text encoder.

    Of a comparison those of all methods; captions are then for those that take them.

    Raises:
        UserError: Something is missing or does not fit the base.
    """
    methods = method_configs(cfg)
    if cfg.vre.captions is not None and all(own.vre.kind != "captions" for own in methods):
        raise UserError(f"vre.captions= needs vre.kind=captions, not {methods[0].vre.kind}.")
    for own in methods:
        _check_prompt(own, prompt_dim)


def _check_prompt(cfg: DictConfig, prompt_dim: int) -> None:
    prompt = None
    if cfg.vre.kind in TEXT_KINDS:
        prompt = text_prompt(cfg, prompt_dim)
        tell_stand_in(cfg)
    if cfg.vre.kind == "captions":
        captions = open_captions(cfg)
        if captions is None:
            raise UserError(
                "vre.kind=captions needs vre.captions=FILE to train with; one prompt for all "
                "images is vre.kind=text_prompt."
            )
        assert prompt is not None
        captions.check(prompt)
    if "vsd" in active_terms(cfg):
        negative = negative_prompt(cfg, prompt_dim)
        if cfg.vre.kind == "text_prompt" and prompt is not None:
            tell_no_guidance(prompt, negative)


def prompt_of_export(folder: Path) -> dict[str, Any]:
    """Returns the keys of ``vre`` with which the generator of a stage-2 export is built."""
    facts = read_config(folder, "osdface")
    kind = facts["prompt"].get("kind", "distinct")
    found = {"kind": kind, "checkpoint": str(folder), "dictionary": facts.get("dictionary", "lq")}
    return found | ({"text_prompt": str(folder / PROMPT_FILE)} if kind in TEXT_KINDS else {})


def prompt_fingerprints(source: Any) -> dict[str, str]:
    """Returns what a checkpoint must agree on: the kind of prompt and its frozen parts."""
    found = {"prompt": str(source.kind)}
    if hasattr(source, "embedder"):
        found["vre"] = state_fingerprint(source.embedder.state_dict())
    elif not list(source.parameters()):
        found["prompt"] += f" {state_fingerprint(source.state_dict())}"
    return found
