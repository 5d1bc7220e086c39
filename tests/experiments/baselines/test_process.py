"""A foreign process is timed and logged, and nothing of it outlives its time."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from experiments.baselines.process import run_process

ROOT = Path(__file__).resolve().parents[3]
# Starts a child that would live on, tells its number, then does as it is told.
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
print(child.pid, flush=True)
exec(sys.argv[1])
"""


def run(tmp_path: Path, code: str, timeout: float | None = None):
    command = [sys.executable, "-c", PARENT, code]
    return run_process(command, tmp_path, tmp_path / "log.txt", timeout)


def gone(pid: int) -> bool:
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":  # ended; whoever inherited it has yet to look
            return True
        time.sleep(0.02)
    return False


def child_of(tmp_path: Path) -> int:
    lines = (tmp_path / "log.txt").read_text().splitlines()
    return int(next(line for line in lines if line.isdigit()))


def test_the_end_of_the_head_is_the_end_of_its_group(tmp_path) -> None:
    done = run(tmp_path, "print('bye')")
    assert (done.status, done.timed_out, done.last_line, done.failure) == (0, False, "bye", "")
    assert gone(child_of(tmp_path))


def test_out_of_time_the_group_is_ended_even_if_it_refuses(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("experiments.baselines.process._PATIENCE_S", 0.3)
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"
    start = time.monotonic()
    done = run(tmp_path, code, timeout=0.5)
    assert done.timed_out and 0.5 <= done.seconds <= time.monotonic() - start < 200
    assert done.status == -signal.SIGKILL and "timeout=" in done.failure
    assert gone(child_of(tmp_path))


def test_whoever_watches_is_called_now_and_then(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("experiments.baselines.process._WATCH_S", 0.1)
    seen: list[float] = []
    command = [sys.executable, "-c", "import time; time.sleep(0.6)"]
    done = run_process(command, tmp_path, tmp_path / "log.txt", watch=seen.append)
    assert done.status == 0 and seen == sorted(seen) and 1 <= len(seen) <= done.seconds / 0.1


def test_how_it_failed_is_told(tmp_path) -> None:
    done = run(tmp_path, "print('loading'); raise RuntimeError('no GPU')")
    assert done.failure == "exit status 1: RuntimeError: no GPU"
    done = run(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert done.failure.startswith("signal 11")
    done = run_process([str(tmp_path / "none")], tmp_path, tmp_path / "log.txt")
    assert done.status == 127 and "No such file" in done.failure
    assert (tmp_path / "log.txt").read_text().count("$ ") == 3


def test_our_own_environment_stays_here(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/ours")
    monkeypatch.setenv("VIRTUAL_ENV", "/ours")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    code = "import os; print([os.environ.get(k) for k in "
    code += "('PYTHONPATH', 'VIRTUAL_ENV', 'CUDA_VISIBLE_DEVICES')], os.getcwd())"
    assert run(tmp_path, code).last_line == f"[None, None, '3'] {tmp_path}"


def test_a_terminated_benchmark_takes_the_method_along(tmp_path) -> None:
    code = (
        "import sys; from pathlib import Path; "
        "from experiments.baselines.process import run_process; "
        f"run_process([sys.executable, '-c', {PARENT!r}, 'time.sleep(300)'], "
        f"Path({str(tmp_path)!r}), Path({str(tmp_path / 'log.txt')!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE)
    while not (tmp_path / "log.txt").exists() or not child_lines(tmp_path):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode != 0 and gone(child_of(tmp_path))


def child_lines(tmp_path: Path) -> list[str]:
    return [line for line in (tmp_path / "log.txt").read_text().split("\n")[:-1] if line.isdigit()]
