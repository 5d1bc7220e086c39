"""The other processes of a distributed run: what happens when one dies, hangs or is cut off.

A process that waits for one that is gone gets an error at once (gloo) or after
``trainer.timeout_seconds``. The first process of a machine also watches those that it started, and
takes them with it; they watch it (:mod:`experiments.cli.parent`). Under srun it is srun that ends
the other tasks.
"""

import atexit
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch.strategies.launchers import subprocess_script
from torch import distributed

from experiments.cli.parent import is_stopped, name_parent, parent_process
from experiments.cli.ranks import is_follower
from osdface.errors import Outage

# How long the first process may take to close its logs after another one has died, and the others
# to end by themselves after the first one has failed.
CLOSING_S, ENDING_S = 30.0, 5.0
_GOES_ON = "the same command goes on from the last checkpoint"
_GLOO = ("gloo", "Connection closed by peer", "Connection reset by peer", "Timed out waiting")


class Children:
    """The processes that this one started; Lightning's watch would kill it in its last words."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen] = []
        self._failing = threading.Event()

    def watch(self, processes: list[subprocess.Popen]) -> None:
        """Ends this process, should one of those die and it not see that by itself."""
        self.processes = processes
        self._failing.clear()
        threading.Thread(target=self._look, daemon=True, name="children-watch").start()
        atexit.register(self.end)

    def dead(self) -> tuple[int, int] | None:
        """Returns local rank and exit status of the first one that has failed, None if none."""
        ended = ((rank, each.poll()) for rank, each in enumerate(self.processes, 1))
        return next(((rank, status) for rank, status in ended if status), None)

    def stopped(self) -> list[int]:
        """Returns the local ranks of those that are stopped."""
        return [rank for rank, each in enumerate(self.processes, 1) if is_stopped(each.pid)]

    def end(self) -> None:
        """Waits a moment for all of them, and kills those that are left."""
        self._failing.set()
        deadline = time.monotonic() + ENDING_S
        for each in self.processes:
            try:
                each.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                each.kill()  # also one that is stopped, or waits in a collective
                each.wait()

    def _look(self) -> None:
        while any(each.poll() != 0 for each in self.processes):
            if self.dead() is not None:
                break
            time.sleep(0.2)
        # NCCL, a long computation: whoever does not ask another process learns nothing.
        if self.dead() is not None and not self._failing.wait(CLOSING_S):
            print(f"error: {self.account()}", file=sys.stderr, flush=True)
            for each in self.processes:
                each.kill()
            os._exit(1)

    def account(self, error: str = "") -> str | None:
        """Returns a sentence on who is missing, None if all are there."""
        if (dead := self.dead()) is not None:
            rank, status = dead
            how = f"with status {status}, see above"
            if status < 0:
                how = f"by {signal.Signals(-status).name}"
            return f"Process {rank} of this run ended {how}{error}: {_GOES_ON}."
        if ranks := self.stopped():
            shown = " and ".join(map(str, ranks))
            return f"Process {shown} of this run is stopped{error}: {_GOES_ON}."
        return None


children = Children()


def prepare() -> None:
    """Prepares for starting the further processes, or for having been started as one."""
    name_parent()
    subprocess_script._launch_process_observer = children.watch  # type: ignore[attr-defined]


def is_loss(error: BaseException) -> bool:
    """Returns whether an error says that another process is gone, silent or unreachable."""
    if isinstance(error, distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _GLOO)


@contextmanager
def joined(timeout_seconds: float) -> Iterator[None]:
    """Makes one sentence of the loss of another process, and leaves no process behind.

    Raises:
        Outage: Another process died, hangs or is cut off.
    """
    try:
        yield
    except BaseException as error:
        if not is_loss(error):
            if not is_follower():
                children.end()
            raise
        if is_follower() and (parent := parent_process()) is not None:
            _leave(parent, timeout_seconds)
        if is_follower():
            time.sleep(ENDING_S)  # the first one tells it, and srun ends this one
        told = _tell(error, timeout_seconds)
        children.end()
        raise Outage(told) from error


def _tell(error: BaseException, timeout_seconds: float) -> str:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0].strip()
    silent = "imed out" in str(error)
    waited = f", and was waited for {timeout_seconds:g} s (trainer.timeout_seconds)"
    for _ in range(10):  # the connection can break a moment before the process has ended
        if (told := children.account(waited if silent else "")) is not None:
            return told
        time.sleep(0.1)
    own = f"process {os.environ.get('RANK') or os.environ.get('SLURM_PROCID') or 0}"
    if silent:
        return (
            f"Another process did not answer {own} for {timeout_seconds:g} s "
            f"(trainer.timeout_seconds): it hangs, or the network is cut; {_GOES_ON}."
        )
    return (
        f"The connection of {own} to another one broke ({reason[:160]}): that one or its node "
        f"died, or the network is cut; {_GOES_ON}."
    )


def _leave(parent: int, timeout_seconds: float) -> None:
    """Ends a process that the first one started, which tells what happened if it can."""
    if os.environ.get("LOCAL_RANK") != "1":
        time.sleep(ENDING_S)  # one of them tells it
    if is_stopped(parent):
        print(
            f"error: The first process of this run ({parent}) is stopped, was waited for "
            f"{timeout_seconds:g} s (trainer.timeout_seconds) and is killed: {_GOES_ON}.",
            file=sys.stderr,
            flush=True,
        )
        os.kill(parent, signal.SIGKILL)
        os._exit(1)
    time.sleep(2)  # if that one was killed, the watch on it says so
    raise SystemExit(1)
