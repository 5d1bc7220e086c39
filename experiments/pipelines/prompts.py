"""The prompt source of stage 2: which VRE it has, and what it makes of it."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from experiments.cli.groups import CONF
from experiments.cli.variants import VRE_GROUP, group_of
from experiments.pipelines.methods import compares_methods, method_configs
from experiments.pipelines.build import base_folder, plain, vq_config
from experiments.pipelines.stage1_cache import ensure_vre
from experiments.pipelines.stage1_parts import dictionary_file, find_dictionary
from osdface.checkpoints.export import PROMPT_FILE, load_tensors, load_vre, read_config
from osdface.checkpoints.released import RELEASED_INPUT_RANGE, load_released_dictionary
from osdface.errors import UserError
from osdface.networks.autoencoder import VQConfig
from osdface.networks.base import DiffusionBase, state_fingerprint
from osdface.networks.caption import null_caption
from osdface.networks.embedder import VisualRepresentationEmbedder
from osdface.networks.prompts import VISUAL_KINDS
from osdface.paths import find_weight

CAPTION = "caption/caption.safetensors"


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


def ensure_vres(cfg: DictConfig, base_fingerprint: str) -> None:
    """Makes every VRE that the run's variants need, where it is neither given nor cached."""
    done = set()
    for own in _variants(cfg):
        needed = own.vre.kind in VISUAL_KINDS and not own.vre.random
        if needed and own.vre.association not in done:
            done.add(own.vre.association)
            ensure_vre(stage1_config(own), base_fingerprint)


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


def text_prompt(cfg: DictConfig, prompt_dim: int) -> Tensor:
    """Returns the fixed prompt (rows, prompt_dim) of ``vre.text_prompt``, or the null caption.

    A base that was pretrained on captions brings its own embedding of an empty one.
    """
    if cfg.vre.text_prompt is None:
        caption = None if cfg.base.random else base_folder(cfg) / CAPTION
        if caption is None or not caption.is_file():
            raise UserError(
                "This base has no caption of its own: vre.kind=text_prompt needs "
                f"vre.text_prompt=FILE, safetensors with prompt (rows, {prompt_dim})."
            )
        return null_caption(load_tensors(caption)).float()
    path = find_weight(str(cfg.vre.text_prompt), cfg.weights_dir)
    prompt = load_tensors(path).get("prompt")
    if prompt is not None and prompt.ndim == 3 and len(prompt) == 1:
        prompt = prompt[0]  # a batch of one, as text encoders give it
    if prompt is None or prompt.ndim != 2 or prompt.shape[1] != prompt_dim:
        found = "no tensor prompt" if prompt is None else f"prompt of shape {tuple(prompt.shape)}"
        raise UserError(f"{path} has {found}: this base needs prompt (rows, {prompt_dim}).")
    return prompt.float()


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
    if kind == "text_prompt":
        inputs["text"] = text_prompt(cfg, base.prompt_dim)
    return inputs


def prompt_of_export(folder: Path) -> dict[str, Any]:
    """Returns the keys of ``vre`` with which the generator of a stage-2 export is built."""
    facts = read_config(folder, "osdface")
    kind = facts["prompt"].get("kind", "distinct")
    found = {"kind": kind, "checkpoint": str(folder), "dictionary": facts.get("dictionary", "lq")}
    return found | ({"text_prompt": str(folder / PROMPT_FILE)} if kind == "text_prompt" else {})


def prompt_fingerprints(source: Any) -> dict[str, str]:
    """Returns what a checkpoint must agree on: the kind of prompt and its frozen parts."""
    found = {"prompt": str(source.kind)}
    if hasattr(source, "embedder"):
        found["vre"] = state_fingerprint(source.embedder.state_dict())
    elif not list(source.parameters()):
        found["prompt"] += f" {state_fingerprint(source.state_dict())}"
    return found
