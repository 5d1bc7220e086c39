"""``launcher=slurm``: the jobs of a sweep, with stand-ins for Slurm's commands."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from experiments.launching import readiness
from experiments.sweep import main
from tests.experiments.launching.conftest import slurm

__all__ = ["slurm"]


@pytest.fixture
def cluster(slurm, sweeps, monkeypatch):
    """Slurm's stand-ins, and sweeps in the same working folder; stage 1 is there."""
    monkeypatch.chdir(sweeps.folder / "work")
    monkeypatch.setattr(readiness, "check_needed", lambda cfg: None)
    monkeypatch.setattr(readiness, "stage1_ready", lambda cfg: True)
    return slurm


def words_of(script: str, index: int, cluster) -> list[str]:
    """The words that srun gets in one task of an array: the script is run by bash."""
    environment = {**os.environ, "SLURM_ARRAY_TASK_ID": str(index), "SLURM_NNODES": "1"}
    subprocess.run(["bash"], input=script, env=environment, text=True, check=True)
    return (cluster.folder / "words").read_text().split("\0")[:-1]


def test_an_array_and_a_gathering_job_are_submitted(cluster, sweeps, capsys) -> None:
    path = sweeps.ranks(1, 2, 4)
    words = [f"sweep={path}", "launcher=slurm", "output_dir=it's o", "slurm.array_parallel=2"]
    words += ["slurm.partition=gpu", "slurm.gather_partition=cpu", "logger=csv"]
    assert main(words) == 0
    folder = Path("it's o").absolute()
    jobs = cluster.jobs()
    assert list(jobs) == ["101", "102"]
    assert "--array=1-3%2" in jobs["101"] and "--partition=gpu" in jobs["101"]
    told = words_of(jobs["101"], 2, cluster)
    assert "scale.stage2.lora_rank=2" in told and f"output_dir={folder}/trial-0002" in told
    assert told[told.index("-m") + 1] == "experiments.run" and "logger.group=mine" in told
    assert not any(word.startswith(("launcher", "slurm.", "resume")) for word in told)
    assert cluster.options("102") == [
        "--parsable",
        "--dependency=afterany:101",
        "--kill-on-invalid-dep=yes",
    ]
    gather = words_of(jobs["102"], 0, cluster)
    assert gather[gather.index("-m") + 1] == "experiments.sweep" and "part=gather" in gather
    assert f"output_dir={folder}" in gather and "--partition=cpu" in jobs["102"]
    assert (folder / "slurm").is_dir()
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "submitted        trials: job 101 (3 in an array)"
    assert out[-1] == str(folder)


def test_what_is_queued_or_finished_is_not_submitted_again(cluster, sweeps, capsys) -> None:
    words = [f"sweep={sweeps.ranks(1, 2, 4)}", "output_dir=o"]
    assert main([*words, "launcher=slurm"]) == 0
    finished = Path("o/trial-0001")
    finished.mkdir()
    (finished / "status.json").write_text(json.dumps({"status": "finished", "step": 3}))
    cluster.queue("101_3 RUNNING")
    assert main(words) == 2  # not here, while Slurm has it
    assert "Slurm has trial-0003: job 101_3 RUNNING" in capsys.readouterr().err
    assert main([*words, "launcher=slurm"]) == 0
    assert "--array=2" in cluster.jobs()["103"]
    assert "--dependency=afterany:101:103" in cluster.options("104")
    assert "already queued   trial-0003: job 101_3 RUNNING" in capsys.readouterr().out


def test_stage_1_comes_first_where_it_is_missing(cluster, sweeps, monkeypatch) -> None:
    monkeypatch.setattr(readiness, "stage1_ready", lambda cfg: False)
    path = sweeps.ranks(1, 2)
    assert main([f"sweep={path}", "launcher=slurm", "output_dir=o", "slurm.nodes=2"]) == 0
    jobs = cluster.jobs()
    assert "part=prepare" in words_of(jobs["101"], 0, cluster)
    assert "--dependency=afterok:101" in cluster.options("102")
    told = words_of(jobs["102"], 1, cluster)
    assert {"trainer=ddp_sim", "trainer.num_nodes=2", "trainer.devices=1"} <= set(told)
    assert "#SBATCH --nodes=1" in jobs["103"] and "#SBATCH --nodes=2" in jobs["102"]


def test_a_dry_run_writes_nothing(cluster, sweeps, capsys) -> None:
    before = sorted(Path().iterdir())
    words = [f"sweep={sweeps.ranks(1, 2)}", "launcher=slurm", "slurm.dry_run=true"]
    assert main(words) == 0
    assert sorted(Path().iterdir()) == before and cluster.jobs() == {}
    assert "##### trials: sbatch\n#!/bin/bash" in capsys.readouterr().out


def test_mistakes_are_told_before_sbatch(cluster, sweeps, capsys) -> None:
    path = sweeps.ranks(1, 2)
    for words, sentence in (
        (["slurm.nods=2"], "did you mean slurm.nodes"),
        (["parallel=2"], "slurm.array_parallel=N"),
        (["slurm.gpus_per_node=2", "trainer=cpu"], "leaves idle"),
    ):
        assert main([f"sweep={path}", "launcher=slurm", "output_dir=o", *words]) == 2
        err = capsys.readouterr().err
        assert sentence in err and len(err.splitlines()) == 1
    cluster.refuse("trials")
    assert main([f"sweep={path}", "launcher=slurm", "output_dir=o"]) == 2
    assert "sbatch refused: invalid partition" in capsys.readouterr().err
    cluster.refuse(None)
    assert main([f"sweep={path}", "launcher=slurm", "output_dir=o"]) == 0


def test_all_finished_only_gathers(cluster, sweeps, capsys) -> None:
    words = [f"sweep={sweeps.ranks(1, 2)}", "output_dir=o"]
    assert main(words) == 0
    assert main([*words, "launcher=slurm"]) == 0
    assert cluster.jobs() == {} and "nothing to do" in capsys.readouterr().out


def test_scripts_are_bash(cluster, sweeps) -> None:
    assert main([f"sweep={sweeps.ranks(1, 2)}", "launcher=slurm", "output_dir=a b's"]) == 0
    for text in cluster.jobs().values():
        subprocess.run(["bash", "-n"], input=text, text=True, check=True)
