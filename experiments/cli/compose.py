"""Composition with Hydra: from plain words to a configuration, errors as one sentence."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.cli.groups import CONF, GROUPS, check_option, options
from experiments.cli.suggest import unknown
from experiments.cli.values import to_hydra, typed_value
from experiments.cli.variants import (
    LOSS_GROUP,
    METHOD_GROUP,
    budgeted_name,
    generated,
    group_of,
    method_and_budget,
    variant_names,
)
from osdface.errors import UserError

# Groups that stand under another name in the defaults list of config.yaml.
_SLOTS = {"scale": "scale@_global_"}
# Sections whose keys an option of another group brings.
_SECTIONS = {"slurm": "launcher"}


@cache
def register() -> None:
    """Makes the generated variants and the resolvers of the ablation's sweep known to Hydra."""
    for name, node in generated().items():
        ConfigStore.instance().store(name=name, node=node, group="variant", package="_global_")
    OmegaConf.register_new_resolver(
        "sweep_variants",
        lambda value, group=LOSS_GROUP: ",".join(map(to_hydra, variants_of(value, group))),
    )
    OmegaConf.register_new_resolver(
        "sweep_seeds", lambda seeds, seed: ",".join(map(str, seeds or [seed]))
    )
    OmegaConf.register_new_resolver("sweep_budgets", lambda budgets: ",".join(budgets))


def variants_of(value: Any, group: str = LOSS_GROUP) -> list[str]:
    """Returns the names of the variants that ``variants=value`` means."""
    return variant_names(value, options(group), group)


def jobs_of(cfg: DictConfig) -> list[tuple[str, int]]:
    """Returns the ablation's jobs in the order of Hydra's sweep: (variant, seed)."""
    seeds = list(cfg.seeds or [cfg.seed])
    group = group_of(cfg.experiment)
    variants = variants_of(cfg.variants, group)
    if group == METHOD_GROUP:
        return [
            (budgeted_name(method, budget), seed)
            for method in variants
            for seed in seeds
            for budget in cfg.budgets
        ]
    return [(variant, seed) for variant in variants for seed in seeds]


def _compose(overrides: list[str]) -> DictConfig:
    register()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("config", overrides=overrides)
    except (HydraException, OmegaConfBaseException) as error:
        # By now names and types are checked: what is left is told in Hydra's first line.
        raise UserError(f"The configuration is wrong: {str(error).splitlines()[0]}") from error


def keys_of(cfg: Any, prefix: str = "") -> set[str]:
    """Returns every dotted key of a configuration, sections included."""
    keys: set[str] = set()
    for key in cfg:
        keys.add(f"{prefix}{key}")
        child = cfg._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            keys |= keys_of(child, f"{prefix}{key}.")
    return keys


def _default(cfg: DictConfig, key: str) -> Any:
    try:
        return OmegaConf.select(cfg, key)
    except OmegaConfBaseException:
        # `???`, or an interpolation of something that is not set: the type is not known.
        return None


def compose_words(words: Mapping[str, str]) -> tuple[DictConfig, list[str]]:
    """Returns the configuration and the overrides, in Hydra's grammar, that give it.

    Raises:
        UserError: An unknown option or key, or a value of the wrong type.
    """
    if "variant" in words and (group := group_of(words.get("experiment"))) != LOSS_GROUP:
        # One job of an ablation whose variants are in another group, by the usual word.
        words = {group if key == "variant" else key: text for key, text in words.items()}
        if group == METHOD_GROUP:
            words["method"], words["budget"] = method_and_budget(words["method"])
    chosen = {group: check_option(group, words[group]) for group in GROUPS if group in words}
    overrides = [f"{_SLOTS.get(group, group)}={to_hydra(name)}" for group, name in chosen.items()]
    defaults = _compose(overrides)
    values = {key: text for key, text in words.items() if key not in GROUPS}
    known = keys_of(defaults)
    for key, text in values.items():
        if key not in known:
            raise _unknown_key(key, known)
        default = _default(defaults, key)
        value = typed_value(key, text, default)
        # A mapping in place of a null has keys of its own.
        for inner in value if isinstance(value, dict) and default is not None else ():
            if f"{key}.{inner}" not in known:
                raise _unknown_key(f"{key}.{inner}", known)
        overrides.append(f"{key}={to_hydra(value)}")
    return _compose(overrides) if values else defaults, overrides


def _unknown_key(key: str, known: set[str]) -> UserError:
    section, _, last = key.partition(".")
    group = _SECTIONS.get(section, section)
    if group in GROUPS and last:
        # The key may belong to another option of the group: data.root without data=folder.
        for name in options(group):
            other = OmegaConf.load(CONF / group / f"{name}.yaml")
            if isinstance(other, DictConfig) and keys_of(other) & {last, key}:
                return UserError(f"{key}= has no meaning here: it belongs to {group}={name}.")
    return unknown("key", key, known)


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Returns the resolved configuration as plain dictionaries."""
    try:
        container = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(f"The configuration is wrong: {str(error).splitlines()[0]}") from error
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}
