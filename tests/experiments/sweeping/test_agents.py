"""A Bayesian sweep with a stand-in for W&B's server and agent; the processes are real."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.launching import readiness
from experiments.sweep import main
from experiments.sweeping import agents, books, driver
from experiments.sweeping.options import read_options
from tests.experiments.launching.conftest import slurm

__all__ = ["slurm"]
HERE = Path(__file__).resolve().parent
SWEEP = """\
import sys
sys.path.insert(0, {root!r})
from experiments.sweeping import agents, books, driver
from experiments.sweeping.options import read_options
driver.COMMAND = {command!r}
from experiments.sweep import main
sys.exit(main())
"""
GAN = {"losses.weights.gan": {"min": 0.01, "max": 1.0}}


@pytest.fixture
def server(sweeps, monkeypatch):
    """W&B's command as a stand-in on PATH, and an account."""
    programs, kept = sweeps.folder / "programs", sweeps.folder / "server"
    for folder in (programs, kept):
        folder.mkdir()
    program = programs / "wandb"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {HERE / "fake_wandb.py"} "$@"\n')
    program.chmod(stat.S_IRWXU)
    called_back = kept / "sweep.py"
    called_back.write_text(SWEEP.format(root=str(HERE.parents[2]), command=driver.COMMAND))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_WANDB", str(kept))
    monkeypatch.setenv("FAKE_WANDB_SWEEP", str(called_back))
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    return kept


def test_the_server_draws_and_every_trial_is_a_run_of_the_sweep(server, sweeps, capsys) -> None:
    path = sweeps.file(GAN, method="bayes")
    words = [f"sweep={path}", "output_dir=o", "scale.stage2.steps=3"]
    assert main([*words, "count=2"]) == 0
    for number, gan in ((1, 0.1), (2, 0.2)):
        metrics = json.loads(Path(f"o/trial-run{number}/metrics.json").read_text())
        assert metrics["psnr"] == pytest.approx(20 + 100 * gan)
    sent = json.loads((server / "sweep.json").read_text())
    assert sent["method"] == "bayes" and sent["metric"]["name"] == "val/perceptual"
    assert sent["parameters"]["scale.stage2.steps"] == {"value": "3"}
    assert capsys.readouterr().out.splitlines()[-1] == str(Path("o").absolute())
    text = Path("o/summary.md").read_text()
    assert "Best so far: `losses.weights.gan=0.2`" in text and "trial-run2" in text
    # A larger count draws more from the same sweep of the server.
    (server / "sweep.json").write_text(json.dumps(sent))
    assert main([*words, "count=3"]) == 0
    assert json.loads((server / "runs.json").read_text()) == ["run1", "run2", "run3"]
    assert "3 finished" in Path("o/summary.md").read_text()


def test_a_refusal_of_the_server_is_a_sentence(server, sweeps, monkeypatch, capsys) -> None:
    monkeypatch.setenv("FAKE_WANDB_DOES", "refused")
    assert main([f"sweep={sweeps.file(GAN, method='bayes')}", "output_dir=o", "count=2"]) == 2
    err = capsys.readouterr().err
    assert (
        err == "error: wandb sweep failed: wandb: ERROR Error uploading sweep: permission denied\n"
    )


def test_without_an_account_it_is_a_sentence(sweeps, monkeypatch, capsys) -> None:
    monkeypatch.setenv("NETRC", str(sweeps.folder / "none"))
    assert main(["sweep=losses", "count=2", "output_dir=o"]) == 2
    assert "needs W&B's server" in capsys.readouterr().err
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert main(["sweep=losses", "count=2", "output_dir=o"]) == 2
    assert not Path("o").exists()


def test_an_agent_part_without_an_agent_is_a_sentence(sweeps, capsys) -> None:
    book = sweeps.book(f"sweep={sweeps.file(GAN, method='bayes')}", "output_dir=o", "count=2")
    words = ["sweep=losses", f"output_dir={book.folder}", "losses.weights.gan=0.1"]
    assert main([*words, "part=agent"]) == 2
    assert "part=agent is what W&B's agents start" in capsys.readouterr().err
    assert main([*words, "part=again"]) == 2


def test_on_slurm_the_agent_stands_outside_srun_and_a_requeue_keeps_its_run(
    server, slurm, sweeps, monkeypatch
) -> None:
    monkeypatch.setattr(readiness, "check_needed", lambda cfg: None)
    path = sweeps.file(GAN, method="bayes")
    words = [f"sweep={path}", "count=2", "launcher=slurm", "output_dir=o", "slurm.nodes=2"]
    # What starts Python on a node: for `-m wandb` and `-m experiments.sweep` the stand-ins.
    node = sweeps.folder / "programs/node"
    node.write_text(
        f"#!/bin/sh\nshift; shift\nname=$1; shift\n"
        f'case "$name" in wandb) exec wandb "$@" ;;\n'
        f'*) exec {sys.executable} {server / "sweep.py"} "$@" ;; esac\n'
    )
    node.chmod(stat.S_IRWXU)
    assert main([*words, f"slurm.prefix={node}"]) == 0
    jobs = slurm.jobs()
    assert "--array=1-2" in jobs["101"] and "srun --" not in jobs["101"]
    assert "-m wandb agent --count 1 me/osdface/abcd1234" in jobs["101"]
    assert slurm.options("102")[1] == "--dependency=afterany:101"
    sent = json.loads((server / "sweep.json").read_text())
    sent["command"] = [sys.executable, *sent["command"][2:]]
    (server / "sweep.json").write_text(json.dumps(sent))

    def start() -> list[str]:
        job = {"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "101", "SLURM_ARRAY_TASK_ID": "2"}
        (slurm.folder / "words").unlink(missing_ok=True)
        environment = {**os.environ, **job}
        subprocess.run(["bash"], input=jobs["101"], env=environment, text=True, check=True)
        return (slurm.folder / "words").read_text().split("\0")

    first = start()
    assert first[0] == "--kill-on-bad-exit=1" and "losses.weights.gan=0.1" in first
    assert f"output_dir={Path('o').absolute()}/trial-run1" in first
    assert {"trainer.num_nodes=2", "trainer=ddp_sim", "experiment=osdface"} <= set(first)
    # The job is requeued: the same run, no second one from the server.
    assert start() == first
    assert json.loads((server / "runs.json").read_text()) == ["run1"]


def test_a_null_of_the_file_comes_back_as_one(sweeps, monkeypatch) -> None:
    """W&B's agent writes it as Python does, which would be a file of that name."""
    path = sweeps.file(
        GAN | {"vre.checkpoint": {"value": None}, "vre.text_prompt": {"values": [None, "a.st"]}},
        method="bayes",
    )
    book = sweeps.book(f"sweep={path}", "output_dir=o", "count=2")
    words = ["losses.weights.gan=0.1", "vre.checkpoint=None", "vre.text_prompt=None"]
    options = read_options([f"sweep={path}", "output_dir=o", "part=agent", *words])
    monkeypatch.setenv("WANDB_RUN_ID", "run1")
    command, _ = agents.trial_command(book, options)
    assert {"vre.checkpoint=null", "vre.text_prompt=null", "losses.weights.gan=0.1"} <= {*command}
    assert books.drawn_trials(book.folder)[0].values["vre.text_prompt"] is None
