"""Whether stage 1 is there is found out without making anything."""

from pathlib import Path

import pytest

from experiments.cli.compose import compose_words
from experiments.cli.words import parse_words
from experiments.launching.readiness import stage1_ready
from experiments.pipelines import stage1_cache
from experiments.pipelines.build import fingerprint_of_base, open_base
from osdface.errors import UserError
from tests.experiments.pipelines.conftest import fast_words


def config(experiment: str, cache: Path, **changes: object):
    words = fast_words(cache_dir=cache, output_dir=cache / "out", **changes)
    return compose_words(parse_words([f"experiment={experiment}", *words]))[0]


def test_a_cached_stage_1_is_found(tmp_path, monkeypatch) -> None:
    cache = tmp_path / "cache"
    cfg = config("osdface", cache)
    assert not stage1_ready(cfg) and not cache.exists()
    assert stage1_ready(config("osdface", cache, **{"vre.checkpoint": "shipped:vre"}))
    assert stage1_ready(config("osdface", cache, **{"vre.kind": "none"}))

    def train(cfg, folder):
        (folder / "export").mkdir(parents=True)
        (folder / "export/config.json").write_text("{}")
        return {}

    monkeypatch.setattr(stage1_cache.stage1, "run_vre", train)
    (cache / "out").mkdir(parents=True)
    # As the run itself does it: with the fingerprint of the base that it has loaded.
    stage1_cache.ensure_vre(cfg, open_base(cfg).fingerprint)
    assert stage1_ready(cfg)
    assert not stage1_ready(config("osdface", cache, **{"scale.stage1.hq_steps": 3}))
    # Twice as many processes make another one.
    assert not stage1_ready(config("osdface", cache, trainer="ddp_sim"))
    # Nor does one process that prepares alone begin what several nodes should train.
    many = config("osdface", cache, trainer="ddp_sim", **{"trainer.num_nodes": 2})
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with pytest.raises(UserError, match="needs srun"):
        stage1_cache.ensure_vre(many, open_base(many).fingerprint)
    # This ablation has a variant with a stage 1 of its own.
    assert stage1_ready(config("ablation_vre", cache, variants="distinct,none"))
    assert not stage1_ready(config("ablation_vre", cache, variants="distinct,no_association"))


@pytest.mark.parametrize("urls", ["https://host/{0..3}.tar", "pipe:cat a.tar"])
def test_remote_data_is_left_to_the_job(tmp_path, urls) -> None:
    cfg = config("osdface", tmp_path, data="shards", **{"data.urls": urls})
    assert not stage1_ready(cfg)


def test_the_base_is_told_by_its_files(tmp_path) -> None:
    for changes in ({}, {"base.random": "true"}):
        cfg = config("osdface", tmp_path, **changes)
        assert fingerprint_of_base(cfg) == open_base(cfg).fingerprint
