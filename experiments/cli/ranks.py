"""Which process of a run this one is, before any framework is imported."""

import os
from typing import Any

_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK")


def is_follower() -> bool:
    """True in every process of a distributed run but the first: it writes no shared file."""
    return any(os.environ.get(name, "0") not in ("", "0") for name in _RANKS)


def several_devices(cfg: Any) -> bool:
    """True if Lightning will start further processes, which repeat this one's command line."""
    return bool(cfg.trainer.devices != 1 or cfg.trainer.num_nodes != 1)
