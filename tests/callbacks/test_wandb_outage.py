"""W&B's server is away: the real client against sockets of ours; training goes on every time."""

import os
import signal
import time
from pathlib import Path

import pytest
import wandb

from callbacks import WandbRun
from osdface.run_folder import offline_folders
from tests.callbacks.test_wandb_run import closed_records, history
from tests.callbacks.wandb_server import Server, refused, silent


@pytest.fixture
def online(monkeypatch):
    """Points the client at a port of this machine, with a key that is none."""

    def point(port: int) -> None:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        wandb.teardown()  # it reads the environment once

    yield point
    wandb.teardown()


def steps(folder):
    rows = history(closed_records(folder))
    return [row["generator_step"] for row in rows if "loss/total" in row]


@pytest.mark.parametrize("kind", ["refused", "silent"])
def test_no_answer_at_the_start_is_said_once_and_goes_on_offline(toy, tmp_path, online, kind):
    listener = silent() if kind == "silent" else None
    online(listener.getsockname()[1] if listener else refused())
    module, fit = toy
    model, start = module(max_steps=4), time.monotonic()
    with (
        pytest.warns(UserWarning, match="goes on offline") as told,
        WandbRun(tmp_path, mode="online", every_n_steps=1, init_timeout=2) as run,
    ):
        waited = time.monotonic() - start
        fit(model, run)
    assert model.generator_step == 4 and waited < 30
    assert len([each for each in told if "W&B" in str(each.message)]) == 1
    (folder,) = offline_folders(tmp_path)
    assert steps(folder) == [1, 2, 3, 4] and folder.name.endswith(run.run_id or "-")
    if listener:
        listener.close()


def test_no_key_goes_on_offline(toy, tmp_path, online, monkeypatch):
    online(refused())
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    module, fit = toy
    with (
        pytest.warns(UserWarning, match="goes on offline"),
        WandbRun(tmp_path, mode="online", every_n_steps=1) as run,
    ):
        fit(module(max_steps=2), run)
    assert steps(offline_folders(tmp_path)[0]) == [1, 2]


def test_a_server_that_falls_silent_costs_the_end_a_bounded_time(toy, tmp_path, online):
    server = Server()
    online(server.server_port)
    module, fit = toy
    run = WandbRun(tmp_path, mode="online", every_n_steps=1, init_timeout=20, finish_timeout=3)
    with pytest.warns(UserWarning, match=r"not take everything within 3 s: wandb sync (.*) upl"):
        with run:
            assert run.run.settings.mode == "online" and "UpsertBucket" in server.calls
            fit(module(max_steps=3), run)
            server.fall_silent()
            fit(module(max_steps=6), run)
            start = time.monotonic()
        assert time.monotonic() - start < 20
    (folder,) = (tmp_path / "wandb").glob("run-*")
    assert next(folder.glob("*.wandb")).stat().st_size > 1000  # kept for `wandb sync`
    server.close()


def test_losing_wandbs_own_process_goes_on_offline(toy, tmp_path, online):
    online(refused())
    module, fit = toy
    with pytest.warns(UserWarning) as told, WandbRun(tmp_path, "offline", every_n_steps=1) as run:
        os.kill(core_process(), signal.SIGKILL)
        time.sleep(0.5)
        model = module(max_steps=4)
        fit(model, run)
    assert model.generator_step == 4
    lost = [str(each.message) for each in told if "process was lost" in str(each.message)]
    assert len(lost) == 1
    assert steps(offline_folders(tmp_path)[-1])[-1] == 4


def core_process() -> int:
    """Returns this process's wandb-core."""
    for task in Path("/proc/self/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            if "wandb" in Path(f"/proc/{child}/cmdline").read_text():
                return child
    raise AssertionError("W&B has no process")
