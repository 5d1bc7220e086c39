"""Stage 1 is trained once for equal settings, also when two processes ask for it together."""

import multiprocessing
import time
from pathlib import Path

import pytest
import torch

from experiments.cli.compose import compose_words
from experiments.cli.words import parse_words
from experiments.pipelines import stage1_cache
from experiments.pipelines.stage1_cache import cache_key, cached_vre, ensure_vre
from osdface.files import write_json
from osdface.run_folder import stage1_folders, sync_command
from tests.experiments.pipelines.conftest import fast_words


def configuration(tmp_path: Path, cache_dir: Path, **changes: object):
    words = fast_words(cache_dir=cache_dir, output_dir=tmp_path, **changes)
    return compose_words(parse_words(["experiment=osdface", *words]))[0]


def stand_in_training(cfg, folder: Path) -> dict[str, float]:
    """Takes a while, notes that it ran, and leaves what a training leaves."""
    with open(folder / "trainings", "a") as file:
        file.write("one\n")
    time.sleep(1.0)
    write_json(folder / "export" / "config.json", {"format_version": 1})
    return {}


@pytest.fixture
def cached(tmp_path, cache_dir, monkeypatch):
    monkeypatch.setattr(stage1_cache.stage1, "run_vre", stand_in_training)
    cfg = configuration(tmp_path, cache_dir)
    cfg.scale.stage1.hq_steps = 12345  # an entry that no other test has
    yield cfg
    folder = cached_vre(cfg, "base").parent
    (folder / "export" / "config.json").unlink()
    (folder / "trainings").unlink()


def test_two_processes_at_once_train_once(cached) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=ensure_vre, args=(cached, "base")) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert (cached_vre(cached, "base").parent / "trainings").read_text() == "one\n"


def test_a_run_knows_where_its_stage_1_lies(cached, tmp_path) -> None:
    export = ensure_vre(cached, "base")
    assert stage1_folders(tmp_path) == [export.parent]
    ensure_vre(cached, "base")  # from the cache: noted once
    assert stage1_folders(tmp_path) == [export.parent]
    run = export.parent / "association" / "wandb" / "offline-run-1"
    run.mkdir(parents=True)
    assert str(run) in str(sync_command(tmp_path, nested=True))
    run.rmdir()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scale.stage1.association_weight", "0.5"),
        ("scale.vre.entries", "32"),
        ("scale.stage1.perceptual", "PERCEPTUAL"),
        ("data.flip", "false"),
        ("trainer", "ddp_sim"),
        ("trainer.precision", "bf16-mixed"),
    ],
)
def test_whatever_changes_stage_1_changes_the_key(tmp_path, cache_dir, key, value) -> None:
    if value == "PERCEPTUAL":  # other weights under another name
        value = tmp_path / "other.safetensors"
        value.write_bytes(b"other weights")
    plain, changed = (configuration(tmp_path, cache_dir, **c) for c in ({}, {key: value}))
    assert cache_key(plain, "data", "base") != cache_key(changed, "data", "base")


def test_what_belongs_to_stage_2_leaves_the_key_alone(tmp_path, cache_dir) -> None:
    plain = configuration(tmp_path, cache_dir)
    changed = configuration(tmp_path, cache_dir, **{"scale.stage2.steps": 7, "seed": 3})
    assert cache_key(plain, "data", "base") == cache_key(changed, "data", "base")
    assert cache_key(plain, "other", "base") != cache_key(plain, "data", "base")


def test_all_gpus_of_another_machine_are_another_number_of_processes(
    tmp_path, cache_dir, monkeypatch
) -> None:
    cfg = configuration(tmp_path, cache_dir, trainer="ddp")
    keys = set()
    for gpus in (2, 8):
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        keys.add(cache_key(cfg, "data", "base"))
    assert len(keys) == 2
