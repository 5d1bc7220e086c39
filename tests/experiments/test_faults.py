"""What a killed parent, a dead or stopped child and a full disk do, with small real processes."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.cli.parent import is_stopped
from experiments.pipelines import peers

ROOT = Path(__file__).resolve().parents[2]
CHILD = "from experiments.cli.parent import watch_parent; import time; watch_parent(True, 0.1); "
PARENT = """
import subprocess, sys, time
from experiments.cli.parent import name_parent
name_parent()
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
print(child.pid, flush=True)
time.sleep(60)
"""


def gone(number: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if ") Z " in Path(f"/proc/{number}/stat").read_text():
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("stopped", [False, True])
def test_a_process_ends_with_the_one_that_started_it(tmp_path, stopped) -> None:
    ready = tmp_path / "ready"
    child = f"{CHILD} open({str(ready)!r}, 'w').close(); time.sleep(60)"
    with open(tmp_path / "errors", "w") as errors:
        parent = subprocess.Popen([sys.executable, "-c", PARENT, child], cwd=ROOT, text=True,
                                  stdout=subprocess.PIPE, stderr=errors)  # fmt: skip
    assert parent.stdout is not None
    number = int(parent.stdout.readline())
    end = time.monotonic() + 30
    while not ready.exists() and time.monotonic() < end:
        time.sleep(0.02)
    if stopped:
        subprocess.run(["kill", "-STOP", str(number)], check=True)
        while not is_stopped(number) and time.monotonic() < end:
            time.sleep(0.02)
    parent.kill()
    parent.wait()
    assert gone(number, 10)
    told = (tmp_path / "errors").read_text()
    assert told.count("error:") == 1 and f"({parent.pid}) was killed" in told


def test_without_a_parent_of_ours_nothing_is_watched(tmp_path) -> None:
    """A command outlives the shell that started it, as with nohup."""
    code = f"{CHILD} time.sleep(1.5); open({str(tmp_path / 'done')!r}, 'w').close()"
    subprocess.run(["sh", "-c", f'{sys.executable} -c "{code}" &'], cwd=ROOT, check=True)
    end = time.monotonic() + 30
    while not (tmp_path / "done").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert (tmp_path / "done").exists()


@pytest.fixture
def children():
    own = peers.Children()
    own.processes = [subprocess.Popen(["sleep", "60"]) for _ in range(3)]
    yield own
    for each in own.processes:
        each.kill()
        each.wait()


def test_a_dead_and_a_stopped_child_are_named(children) -> None:
    assert children.account() is None
    children.processes[2].send_signal(signal.SIGSTOP)
    while not is_stopped(children.processes[2].pid):
        time.sleep(0.01)
    assert children.account().startswith("Process 3 of this run is stopped: the same command")
    children.processes[1].kill()
    children.processes[1].wait()
    assert children.account().startswith("Process 2 of this run ended by SIGKILL: the same command")


def test_ending_kills_those_that_do_not_end(children, monkeypatch) -> None:
    monkeypatch.setattr(peers, "ENDING_S", 0.3)
    children.processes[0].send_signal(signal.SIGSTOP)
    children.processes[1].terminate()
    children.end()
    assert [each.returncode for each in children.processes] == [-9, -15, -9]


def test_a_child_that_failed_has_said_why() -> None:
    own = peers.Children()
    own.processes = [subprocess.Popen(["sh", "-c", "exit 3"])]
    own.processes[0].wait()
    assert "Process 1 of this run ended with status 3, see above: the same" in own.account()


@pytest.mark.parametrize("sees_it_itself", [True, False])
def test_a_process_that_learns_nothing_of_a_death_is_ended(
    children, monkeypatch, capsys, sees_it_itself
) -> None:
    exits: list[int] = []
    monkeypatch.setattr(peers, "CLOSING_S", 0.5)
    monkeypatch.setattr(peers, "ENDING_S", 0.1)
    monkeypatch.setattr(peers.os, "_exit", exits.append)
    children.watch(children.processes)
    children.processes[0].kill()
    if sees_it_itself:
        children.processes[0].wait()
        children.end()
    end = time.monotonic() + (1.5 if sees_it_itself else 10)
    while not exits and time.monotonic() < end:
        time.sleep(0.02)
    assert exits == ([] if sees_it_itself else [1])
    assert ("Process 1 of this run ended by SIGKILL" in capsys.readouterr().err) != sees_it_itself
    peers.atexit.unregister(children.end)


def test_what_counts_as_the_loss_of_a_process() -> None:
    lost = [
        RuntimeError("[/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1"),
        RuntimeError("[gloo/unbound_buffer.cc:81] Timed out waiting 9000ms for recv operation"),
        peers.distributed.DistStoreError("Timed out after 31 seconds waiting for clients."),
        peers.distributed.DistBackendError("NCCL communicator was aborted on rank 0."),
    ]
    assert all(map(peers.is_loss, lost))
    assert not any(map(peers.is_loss, (RuntimeError("shape"), ValueError("Timed out waiting"))))


FULL = """
import resource, sys
from pathlib import Path
from experiments.cli.guard import guarded
from osdface.files import append_text, write_text
path = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
write = {"append": append_text, "whole": write_text}[sys.argv[2]]
sys.exit(guarded(lambda: write(path, "x" * 10000) or 0))
"""


@pytest.mark.parametrize("way", ["append", "whole"])
def test_no_room_is_one_sentence(tmp_path, way) -> None:
    path = tmp_path / "file.txt"
    path.write_text("before")
    command = [sys.executable, "-c", FULL, str(path), way]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"{path} could not be written (File too large): free some space and" in done.stderr
    assert path.read_text().startswith("before") and (way == "append" or len(path.read_text()) == 6)
    assert [each.name for each in tmp_path.iterdir()] == ["file.txt"]
