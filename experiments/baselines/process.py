"""A foreign command as a process group: timed, logged, and gone afterwards with all it started."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_POLL_S = 0.01
_WATCH_S = 30.0
_PATIENCE_S = 5.0  # between the request to end and the end
# Of our own environment; another interpreter must not see them.
_OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP")


@dataclass(frozen=True)
class Finished:
    """How a process ended.

    Attributes:
        status: Exit status; negative: the signal that ended it.
        seconds: Wall time from start to end.
        timed_out: It was ended here.
        last_line: The last line that it wrote.
    """

    status: int
    seconds: float
    timed_out: bool
    last_line: str

    @property
    def failure(self) -> str:
        """Why it failed, one clause; empty if it did not."""
        if self.timed_out:
            return f"ended after {self.seconds:.0f} s by timeout="
        if self.status == 0:
            return ""
        how = f"signal {-self.status}" if self.status < 0 else f"exit status {self.status}"
        return f"{how}: {self.last_line}" if self.last_line else how


def run_process(
    command: Sequence[str],
    folder: Path,
    log: Path,
    timeout: float | None = None,
    *,
    foreign: bool = True,
    watch: Callable[[float], None] | None = None,
) -> Finished:
    """Runs a command in ``folder``, its words and output appended to ``log``.

    ``foreign``: it has an environment of its own and sees none of ours. ``watch`` is called with
    the seconds so far, about twice a minute.

    It is the head of a process group of its own. When it ends, by itself, by ``timeout`` seconds or
    because this process is interrupted, the whole group is ended: nothing of it stays behind.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    hidden = _OURS if foreign else ()
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    with open(log, "ab") as file:
        file.write(f"$ {' '.join(command)}\n".encode())
        file.flush()
        begin = file.tell()
        start = time.perf_counter()
        with _told_of_termination():
            try:
                process = subprocess.Popen(
                    command,
                    cwd=folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                return Finished(127, 0.0, False, f"{command[0]}: {error.strerror}")
            try:
                timed_out = not _ended(process.pid, timeout, watch)
                seconds = time.perf_counter() - start
            finally:
                _end_group(process)
    return Finished(process.returncode, seconds, timed_out, _last_line(log, begin))


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@contextmanager
def _told_of_termination() -> Iterator[None]:
    """Makes SIGTERM an interruption like Ctrl-C, so that the group is ended before this process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _ended(pid: int, timeout: float | None, watch: Callable[[float], None] | None = None) -> bool:
    """Waits for the end but leaves the entry in the process table, so that its group stays ours."""
    start = watched = time.perf_counter()
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        now = time.perf_counter()
        if timeout is not None and now - start > timeout:
            return False
        if watch and now - watched > _WATCH_S:
            watched = now
            watch(now - start)
        time.sleep(_POLL_S)
    return True


def _end_group(process: subprocess.Popen[bytes]) -> None:
    if not _ended(process.pid, 0):
        os.killpg(process.pid, signal.SIGTERM)
        _ended(process.pid, _PATIENCE_S)
    os.killpg(process.pid, signal.SIGKILL)  # the rest of the group; the head is at least a zombie
    process.wait()


def _last_line(log: Path, begin: int) -> str:
    with open(log, "rb") as file:
        file.seek(max(begin, log.stat().st_size - 4096))
        text = file.read().decode("utf-8", "replace")
    lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""
