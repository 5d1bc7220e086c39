"""What the rows of an ablation are, beyond their names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from experiments.cli.groups import options
from experiments.cli.variants import VRE_GROUP, group_of
from experiments.reporting.records import Row


def read_configuration(output_dir: Path) -> dict[str, Any]:
    """Returns ``config.yaml`` of an output folder, empty if it is not there or broken."""
    try:
        found = yaml.safe_load((output_dir / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def is_of_vre(output_dir: Path) -> bool:
    """True for an ablation of the VRE, whose variants differ in their prompt."""
    return group_of(read_configuration(output_dir).get("experiment")) == VRE_GROUP


def variant_notes(output_dir: Path, variants: Sequence[Row]) -> str:
    """Returns a line on every variant of a VRE ablation; those of the losses name themselves."""
    if not is_of_vre(output_dir):
        return ""
    known = options(VRE_GROUP)
    lines = [f"- `{row.name}`: {known[row.name]}" for row in variants if row.name in known]
    if any(row.name == "no_association" for row in variants):
        lines += ["", _association_note(read_configuration(output_dir))]
    return "\nThe variants, all with the losses of `full`:\n\n" + "\n".join(lines) + "\n"


def _association_note(config: dict[str, Any]) -> str:
    """Says how unlike the two stages 1 are beside the association."""
    try:
        vre, scale = config["vre"], config["scale"]
        if vre["random"]:
            return "All VREs had random weights here (vre.random=true)."
        apart = _stage1(vre["unassociated"], scale["no_association"])
        steps = {**scale["stage1"], "init_from": scale["vre"]["init_from"]}
        return (
            f"The dictionary of `no_association` {apart}, that of the others "
            f"{_stage1(vre['checkpoint'], steps)}: read the row as what a VRE from such a stage 1 "
            "gives, not as the effect of the association alone, unless both are trained alike."
        )
    except (KeyError, TypeError):
        return ""


def _stage1(checkpoint: str | None, steps: dict[str, Any]) -> str:
    if checkpoint is not None:
        return f"was given ({checkpoint})"
    start = steps["init_from"]
    text = f"had {steps['lq_steps']} LQ steps"
    if steps["association_steps"]:
        text += f" and {steps['association_steps']} of association"
    return f"{text}, from {start if start else 'nothing'}"
