"""Signals outside a training, requeueing, and what becomes of the processes of a sweep."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.ablation.processes import run_words
from experiments.cli.requeue import job_id
from experiments.cli.signals import WATCHED, Interrupted, SignalWatch, interruption_of
from experiments.run import main
from osdface.files import read_json
from osdface.run_folder import read_status

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sys.executable


def kill_self(*numbers):
    for number in numbers:
        os.kill(os.getpid(), number)


@pytest.fixture
def slurm_job(monkeypatch, tmp_path):
    """A Slurm job whose scontrol writes down what it was asked; returns that file."""
    told = tmp_path / "told"
    program = tmp_path / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >>{told}\n[ ! -e {tmp_path}/refuse ] || '
                       "{ echo 'slurm_requeue error: disabled' >&2; exit 1; }\n")  # fmt: skip
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "71")
    return told


@pytest.mark.parametrize("number", WATCHED)
def test_outside_a_training_a_signal_ends_the_command(fakes, tmp_path, capsys, number):
    handlers = [signal.getsignal(each) for each in WATCHED]
    words = ["experiment=osdface", "base.random=true", f"output_dir={tmp_path / 'run'}"]
    fakes.run = lambda *_: kill_self(number)
    assert main(words) == 128 + number
    assert read_status(tmp_path / "run")["reason"] == f"interrupted ({number.name})"
    said = capsys.readouterr().err
    assert said == f"Interrupted by {number.name}; the same command goes on.\n"
    assert [signal.getsignal(each) for each in WATCHED] == handlers
    fakes.run = lambda *_: {"psnr": 21.0}
    assert main(words) == 0
    assert read_status(tmp_path / "run")["status"] == "finished"


@pytest.mark.parametrize("number", WATCHED)
def test_a_slurm_job_is_requeued_but_not_after_sigterm(fakes, slurm_job, tmp_path, number):
    fakes.run = lambda *_: kill_self(number)
    words = ["experiment=osdface", "base.random=true", f"output_dir={tmp_path / 'run'}"]
    assert main(words) == 128 + number
    asked = slurm_job.read_text() if slurm_job.exists() else ""
    assert asked == ("" if number == signal.SIGTERM else "requeue 71\n")


def test_of_an_array_the_task_is_requeued(monkeypatch):
    for name, value in {"JOB_ID": "75", "ARRAY_JOB_ID": "71", "ARRAY_TASK_ID": "3"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert job_id() == "71_3"


def test_a_refused_requeue_is_told(fakes, slurm_job, tmp_path, capsys):
    (tmp_path / "refuse").touch()
    fakes.run = lambda *_: kill_self(signal.SIGUSR1)
    assert main(["experiment=osdface", "base.random=true", f"output_dir={tmp_path / 'run'}"]) == 138
    said = capsys.readouterr().err
    assert "could not be requeued (slurm_requeue error: disabled): submit the same" in said


def test_a_further_process_ends_with_0(fakes, slurm_job, tmp_path, monkeypatch):
    """Else Lightning and srun would kill the first one while it closes its logs."""
    words = ["experiment=osdface", "base.random=true", f"output_dir={tmp_path / 'run'}"]
    fakes.run = lambda *_: kill_self(signal.SIGUSR1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert main(words) == 0
    assert not slurm_job.exists()


def test_a_sweep_stops_and_begins_no_further_variant(fakes, tmp_path, capsys):
    def run_variant(cfg, folder):
        fakes.jobs.append((cfg.variant, cfg.seed))
        if cfg.variant == "full":
            kill_self(signal.SIGUSR1)

    fakes.run_variant = run_variant
    words = ["experiment=ablation_losses", "variants=mse,full,no_gan", f"output_dir={tmp_path}/run"]
    assert main(words) == 138
    assert [name for name, _ in fakes.jobs] == ["mse", "full"] and not fakes.reports
    assert read_json(tmp_path / "run" / "full" / "status.json")["status"] == "running"
    fakes.run_variant = lambda cfg, folder: fakes.jobs.append((cfg.variant, cfg.seed))
    assert main(words) == 0
    assert [name for name, _ in fakes.jobs[2:]] == ["full", "no_gan"]


def test_while_a_training_runs_signals_are_noted_and_sigterm_wins(capsys):
    watch = SignalWatch()
    with watch.installed():
        with pytest.raises(Interrupted) as caught, watch.deferred():
            for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGUSR1) * 7:
                kill_self(number)
            level = watch.level
        assert caught.value.number == signal.SIGTERM and caught.value.code == 143
        assert watch.level == level == 1 + WATCHED.index(signal.SIGTERM)
        kill_self(signal.SIGUSR1)  # on the way out it changes nothing


def test_a_forked_process_is_deaf():
    watch = SignalWatch()
    with watch.installed(), watch.deferred():
        child = os.fork()
        if child == 0:
            kill_self(signal.SIGUSR1, signal.SIGTERM)
            os._exit(7 + watch.level)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def program_in_place_of_python(tmp_path, monkeypatch, text):
    path = tmp_path / "program"
    path.write_text(f"#!{PYTHON}\nimport os, signal, time\n{text}\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))


def test_a_process_that_a_signal_ended_ends_the_sweep(tmp_path, monkeypatch):
    program_in_place_of_python(tmp_path, monkeypatch, "raise SystemExit(138)")
    with pytest.raises(Interrupted) as caught:
        run_words({"experiment": "osdface"})
    assert caught.value.number == signal.SIGUSR1 and caught.value.requeued
    program_in_place_of_python(tmp_path, monkeypatch, "raise SystemExit(3)")
    assert run_words({"experiment": "osdface"}) == 3
    assert [interruption_of(status) for status in (0, 1, 2, 130, -9, -15, 143)] == [
        None, None, None, None, None, signal.SIGTERM, signal.SIGTERM,
    ]  # fmt: skip


def test_a_signal_to_the_sweep_alone_reaches_its_process(tmp_path, monkeypatch):
    """It is waited for however long its step takes, and sees to the requeue."""
    text = f"""
def end(*_):
    time.sleep(0.3)
    open("{tmp_path}/saved", "w").close()
    raise SystemExit(138)
signal.signal(signal.SIGUSR1, end)
os.kill(os.getppid(), signal.SIGUSR1)
time.sleep(60)
"""
    program_in_place_of_python(tmp_path, monkeypatch, text)
    watch = SignalWatch()
    with watch.installed(), pytest.raises(Interrupted) as caught:
        watch.obey()
        run_words({"experiment": "osdface"})
    assert (tmp_path / "saved").exists() and caught.value.requeued


def test_a_signal_while_the_command_starts_ends_it_in_order(tmp_path):
    """As soon as the handlers are there: what follows is importing and composing."""
    code = (
        "import sys, os, signal\nfrom experiments.cli import signals\n"
        "real = signals.SignalWatch.install\n"
        "def install(self):\n    real(self)\n    os.kill(os.getpid(), signal.SIGUSR1)\n"
        "signals.SignalWatch.install = install\n"
        "from experiments.run import main\n"
        "status = main(['experiment=osdface'])\n"
        "assert 'torch' not in sys.modules\nsys.exit(status)"
    )
    begin = time.monotonic()
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 138, run.stderr
    assert run.stderr == "Interrupted by SIGUSR1; the same command goes on.\n"
    assert not list(tmp_path.iterdir()) and time.monotonic() - begin < 60
