"""Whole experiments in a few steps: the real code at the real tiny scale, only shorter."""

from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.run import main

FAST = {
    "scale.data.identities": 6,
    "scale.data.variations": 2,
    "scale.data.val_identities": 3,
    "scale.data.val_variations": 2,
    "scale.data.shard_size": 5,
    "scale.stage1.batch_size": 2,
    "scale.stage1.hq_steps": 2,
    "scale.stage1.lq_steps": 2,
    "scale.stage1.association_steps": 2,
    "scale.stage1.val_every": 2,
    "scale.stage1.log_every": 1,
    "scale.no_association.lq_steps": 2,
    "scale.stage2.batch_size": 2,
    "scale.stage2.steps": 2,
    "scale.compare.images": 4,
    "scale.compare.seconds": 1,
    "scale.compare.validations": 1,
    "scale.stage2.val_every": 2,
    "scale.stage2.log_every": 1,
    "scale.stage2.checkpoint_every": 1,
    "scale.stage2.samples": 2,
    "scale.pretrain.identities": 6,
    "scale.pretrain.variations": 2,
    "scale.pretrain.val_variations": 2,
    "scale.pretrain.val_every": 2,
    "scale.pretrain.log_every": 1,
    "scale.pretrain.batch_size": 2,
    "scale.pretrain.vae_batch_size": 2,
    "scale.pretrain.identity_batch_size": 4,
    **{
        f"scale.pretrain.{part}_steps": 2
        for part in ("vae", "base", "identity", "perceptual", "hq", "lq", "association")
    },
    "progress": "false",
    "logger": "csv",
}


def fast_words(**changes: object) -> list[str]:
    """All words; a change to None leaves one out."""
    return [f"{key}={value}" for key, value in (FAST | changes).items() if value is not None]


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory) -> Path:
    """Portraits and stage 1 are made once for all tests of this process."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run_fast(cache_dir) -> Callable[..., int]:
    """Runs the real command line in this process; returns its exit status."""

    def run(experiment: str, output_dir: Path, **changes: object) -> int:
        own = {"cache_dir": cache_dir, "output_dir": output_dir}
        if experiment == "compare_one_step":
            own["scale.stage2.val_every"] = None  # its budgets say when a method is validated
        words = fast_words(**own | changes)
        return main([f"experiment={experiment}", *words])

    return run
