"""Which figures depend on a network of ours that stands in for a published one."""

from typing import Any

from experiments.reporting.page.found import Found

# Everything else is a network or a weight file of the user's or ours.
PUBLISHED = ("vgg16", "arcface_ir_se50", "mobilefacenet", "w600k_mbf")
_MARK = "(stand-in)"


def is_stand_in_metric(metric: str, found: Found) -> bool:
    """Returns whether ``specification.json`` says so of a validation figure."""
    return _MARK in found.specification.get(metric, "")


def loss_networks(config: dict[str, Any]) -> dict[str, str]:
    """Returns kind of loss -> name of the network in it, as the configuration says.

    Kinds: ``perceptual``, ``identity``; the losses of stage 1 have the former alone.
    """
    scale = config.get("scale")
    scale = scale if isinstance(scale, dict) else {}
    stage1 = config.get("task") in ("vq_dictionary", "association", "vre", "pretrain_vre")
    chosen = scale.get("stage1" if stage1 else "stage2")
    chosen = chosen if isinstance(chosen, dict) else {}
    keys = {"perceptual": "perceptual"} if stage1 else {}
    keys = keys or {"perceptual": "perceptual_loss", "identity": "identity_loss"}
    return {kind: str(chosen[key]) for kind, key in keys.items() if chosen.get(key)}


def is_stand_in_curve(key: str, found: Found) -> bool:
    """Returns whether a key of ``metrics.csv`` depends on a stand-in."""
    if key.startswith("val/"):
        return is_stand_in_metric(key.removeprefix("val/"), found)
    if not key.startswith("loss/"):
        return False
    networks = loss_networks(found.config)
    kind = "identity" if "identity" in key else ""
    kind = "perceptual" if any(name in key for name in ("dists", "lpips", "perceptual")) else kind
    return kind in networks and networks[kind] not in PUBLISHED
