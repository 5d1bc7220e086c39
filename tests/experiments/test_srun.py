"""How a run started by srun is told apart, checked, and waits for its first task."""

import threading
import time

import pytest
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.plugins.environments import SLURMEnvironment
from omegaconf import OmegaConf

from experiments.cli.srun import (
    ENDED,
    TRAINING,
    check_srun,
    srun_tasks,
    tell_followers,
    wait_for_first,
)
from experiments.pipelines.fitting import _environments
from osdface.errors import UserError


@pytest.fixture
def job(monkeypatch):
    """Sets the variables of a Slurm job, as a real one of version 22.05 has them."""

    def set_job(tasks=None, nodes=None, rank="0", name="osdface", restarts=None):
        variables = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": name, "SLURM_PROCID": rank,
                     "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "2",
                     "SLURM_STEP_ID": tasks and "0", "SLURM_STEP_NUM_TASKS": tasks,
                     "SLURM_STEP_NUM_NODES": nodes, "SLURM_RESTART_COUNT": restarts}  # fmt: skip
        monkeypatch.delenv("RANK", raising=False)
        for key, value in variables.items():
            monkeypatch.delenv(key, raising=False)
            if value is not None:
                monkeypatch.setenv(key, value)

    return set_job


def config(devices=2, num_nodes=2, output_dir="out", task="osdface", part="all"):
    trainer = {"devices": devices, "num_nodes": num_nodes}
    keys = {"trainer": trainer, "output_dir": output_dir, "task": task, "part": part}
    return OmegaConf.create(keys)


def test_a_batch_script_and_a_shell_are_not_tasks_of_srun(job) -> None:
    job()
    assert srun_tasks() == 1
    job("1", "1", name="interactive")
    assert srun_tasks() == 1
    job("4", "2")
    assert srun_tasks() == 4


def test_lightning_is_told_who_starts_the_processes(job) -> None:
    job()
    assert type(_environments()[0]) is LightningEnvironment
    # By the name alone Lightning would make each of these tasks a run of its own.
    job("4", "2", name="bash")
    (found,) = _environments()
    assert type(found) is SLURMEnvironment and not found.auto_requeue


def test_outside_slurm_lightning_chooses(monkeypatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert _environments() == []


@pytest.mark.parametrize(
    ("tasks", "nodes", "changes", "sentence"),
    [
        ("4", "2", {"devices": 1}, "trainer.devices=2 trainer.num_nodes=2"),
        ("4", "2", {"devices": -1}, "trainer.devices=2 trainer.num_nodes=2"),
        ("4", "1", {}, "trainer.devices=4 trainer.num_nodes=1"),
        ("4", "2", {"output_dir": None}, "needs output_dir="),
        ("4", "2", {"task": "ablation"}, "part=prepare"),
        (None, None, {}, "srun --nodes=2 --ntasks-per-node=2"),
    ],
)
def test_what_does_not_fit_is_told(job, tasks, nodes, changes, sentence) -> None:
    job(tasks, nodes)
    with pytest.raises(UserError, match=sentence):
        check_srun(config(**changes))


def test_what_fits_passes(job) -> None:
    job("4", "2")
    check_srun(config())
    check_srun(config(task="ablation", part="variant"))
    job()
    check_srun(config(num_nodes=1, output_dir=None))
    # One process of a run of several nodes.
    for part in ("prepare", "gather"):
        check_srun(config(task="ablation", part=part))


@pytest.mark.parametrize(("state", "trains"), [(TRAINING, True), (ENDED, False)])
def test_a_further_task_waits_for_the_first(job, tmp_path, state, trains) -> None:
    folder = tmp_path / "out"
    job("4", "2", restarts="1")
    folder.mkdir()
    tell_followers(folder, TRAINING)  # what an earlier start of the same job left
    job("4", "2", rank="3", restarts="2")
    tell_followers(folder, state)  # not the first task: says nothing
    answers: list[bool] = []
    waiting = threading.Thread(target=lambda: answers.append(wait_for_first(folder, 0.01)))
    waiting.start()
    time.sleep(0.1)
    assert answers == []
    job("4", "2", rank="0", restarts="2")
    tell_followers(folder, state)
    waiting.join(10)
    assert answers == [trains]


def test_nothing_is_written_without_srun(job, tmp_path) -> None:
    job()
    tell_followers(tmp_path, TRAINING)
    assert list(tmp_path.iterdir()) == []


def test_jobs_of_an_array_that_share_a_folder_do_not_speak_over_each_other(
    job, tmp_path, monkeypatch
) -> None:
    """Both begin to train before the further task of the first one looks for its word."""
    for number in ("7", "8"):
        job("4", "2")
        monkeypatch.setenv("SLURM_JOB_ID", number)
        tell_followers(tmp_path, TRAINING)
    job("4", "2", rank="1")
    answers: list[bool] = []
    waiting = threading.Thread(
        target=lambda: answers.append(wait_for_first(tmp_path, 0.01)), daemon=True
    )
    waiting.start()
    waiting.join(5)
    assert answers == [True]
