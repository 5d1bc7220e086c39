"""What is known of a restorer beside its weights: how it was trained, on what, how well it did."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from osdface.checkpoints.opening import TINY
from osdface.files import read_json
from osdface.paths import SHIPPED_PREFIX, assets_dir
from osdface.pickles import load_pickle
from osdface.run_folder import is_finished, read_status

# Networks of the losses and figures, by their key in scale.stage2.
_ROLES = {
    "perceptual_loss": "in the perceptual loss",
    "identity_loss": "in the identity loss",
    "perceptual_metric": "in the perceptual figure",
    "identity_metric": "in the identity figures",
}
_OSEDIFF = "LoRA and `conv_in`: by OSEDiff's authors, whose code is under Apache-2.0."
_STAND_IN = "tiny"  # what the names of our stand-ins begin with
_SHIPPED = ["all networks of the losses and figures: small ones, trained on drawn portraits"]
# Of the configuration's data section, what tells nothing about the data.
_NOT_DATA = ("num_workers", "workers", "retries", "timeout", "max_broken_share", "shard_size")


@dataclass
class Facts:
    """What a model card can say; anything that is not known is empty.

    Attributes:
        source: What the weights came from, without paths of this machine.
        training: Settings, by name.
        data: Settings of the training data, by name.
        figures: Of the last validation, by metric.
        specification: How each figure is computed.
        base: The base's name.
        stand_ins: One line for each stand-in that took part; None where that is not known.
        released: Whether these are the released files.
        terms: What of the weights' licence is known, one line.
    """

    source: str
    training: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    specification: dict[str, str] = field(default_factory=dict)
    base: str = ""
    stand_ins: list[str] | None = None
    released: bool = False
    terms: str = ""

    @property
    def own(self) -> dict[str, Any]:
        """What an export's config.json keeps, so that its own exports can say it again."""
        return {
            "card": {
                "source": self.source,
                "training": self.training,
                "data": self.data,
                "specification": self.specification,
                "base": self.base,
                "stand_ins": self.stand_ins,
                "released": self.released,
                "terms": self.terms,
            },
            "figures": self.figures,
        }


def gather(checkpoint: str, base: str | None = None) -> Facts:
    """Collects what lies in and beside a checkpoint that can be opened.

    Args:
        checkpoint: As the command names it.
        base: The base, where the command names one.
    """
    path = assets_dir() / "restorer" if checkpoint == TINY else Path(checkpoint)
    if path.is_file() and path.suffix == ".pkl":
        return Facts("OSEDiff's checkpoint (R)", base=Path(base or "").name, terms=_OSEDIFF)
    if path.is_file():
        state = load_pickle(path)
        step = int(state["generator_step"])
        figures = {"figures": _figures_of(path, step)}
        source = f"checkpoint {path.name} of step {step}"
        return _of_run(source, state["config"], figures, path.parent.parent, step)
    if not (path / "config.json").is_file():
        return Facts("the released files (R)", base=Path(base or "").name, released=True)
    own = read_json(path / "config.json")
    if "card" in own:
        return Facts(**own["card"], figures=own["figures"])
    if checkpoint == TINY:
        found = _of_run("the restorer that is shipped", {}, own, path)
        found.data, found.stand_ins = {"kind": "drawn portraits of 64 px"}, _SHIPPED
        return found
    # Moved away from its run, what lies beside it is something else.
    config = _read_yaml(path.parent / "config.yaml") if path.name == "export" else {}
    step = read_status(path.parent).get("step") if config else None
    return _of_run("the export of a run", config, own, path.parent, step)


def _figures_of(checkpoint: Path, step: int) -> dict[str, float]:
    """The figures of that very step: the last validation's may belong to later weights."""
    run_dir, best = checkpoint.parent.parent, _read(checkpoint.parent / "best.json")
    if is_finished(run_dir) and read_status(run_dir).get("step") == step:
        return _read(run_dir / "metrics.json")
    return {str(best["metric"]): float(best["value"])} if best.get("step") == step else {}


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        found = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, YAMLError, OmegaConfBaseException):
        return {}
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}


def _read(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _of_run(
    source: str,
    config: Mapping[str, Any],
    own: Mapping[str, Any],
    run_dir: Path,
    step: int | None = None,
) -> Facts:
    """Facts from a run's configuration, its export's config.json, and the run's folder.

    ``step``: of these weights, which a budget or an interruption makes another than configured.
    """
    chosen = config.get("scale", {}).get("stage2", {})
    lora = own.get("lora", {"rank": chosen.get("lora_rank"), "alpha": chosen.get("lora_alpha")})
    training = {
        "scale": own.get("scale") or config.get("scale", {}).get("name"),
        "variant": config.get("variant"),
        "steps": step or chosen.get("steps"),
        "batch size": chosen.get("batch_size"),
        "learning rate": chosen.get("learning_rate"),
        "loss weights": _loss_weights(config),
        "prompt": own.get("prompt", {}).get("kind") or config.get("vre", {}).get("kind"),
        "dictionary": own.get("dictionary") or config.get("vre", {}).get("dictionary"),
        "LoRA": f"rank {lora['rank']}, alpha {lora['alpha']}",
        "timestep": own.get("timestep") or chosen.get("timestep"),
        "seed": config.get("seed"),
        "command": own.get("made_by"),
    }
    base = str(own.get("base", config.get("base", {})).get("path") or "")
    return Facts(
        source,
        {name: value for name, value in training.items() if value is not None},
        _data(config),
        dict(own.get("figures") or {}),
        _specification(run_dir) if config else {},
        base if base.startswith(SHIPPED_PREFIX) else Path(base).name,
        _stand_ins(chosen),
    )


def _loss_weights(config: Mapping[str, Any]) -> str | None:
    losses = dict(config.get("losses", {}))
    weights = losses.pop("weights", {})
    used = {name: factor * weights.get(name, 1.0) for name, factor in losses.items() if factor}
    return ", ".join(f"{name} {value:g}" for name, value in used.items()) or None


def _data(config: Mapping[str, Any]) -> dict[str, Any]:
    """The data section, places by their last name only: a card goes to others."""
    data = dict(config.get("data", {}))
    degradation = data.pop("degradation", {})
    flat = {"kind": data.get("kind"), **degradation, **data}
    flat = {key: value for key, value in flat.items() if key not in _NOT_DATA}
    return {
        key: _public(str(value)) if key in ("root", "urls", "val_urls") else value
        for key, value in flat.items()
        if value is not None
    }


def _public(places: str) -> str:
    """The last names of folders and addresses, without what signs an address; of a pipe nothing."""
    found = []
    for place in places.split("::"):
        if place.startswith("pipe:"):
            found.append("pipe")
        else:
            found.append(Path(place.partition("?")[0] if "://" in place else place).name)
    return "::".join(found)


def _specification(run_dir: Path) -> dict[str, str]:
    """How the run measured; a variant's reference rows stand beside it, with seeds one above."""
    for folder in (run_dir, *list(run_dir.parents)[:2]):
        if found := _read(folder / "references" / "specification.json"):
            return found
    return {}


def _stand_ins(chosen: Mapping[str, Any]) -> list[str] | None:
    if not chosen:
        return None
    return [
        f"{chosen[key]} ({where})"
        for key, where in _ROLES.items()
        if str(chosen.get(key, "")).startswith(_STAND_IN)
    ]
