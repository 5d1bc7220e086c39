"""A process that another one started ends soon after that one, however that one ended."""

import ctypes
import os
import signal
import sys
import threading
import time
from contextlib import suppress

_NAME = "OSDFACE_PARENT"
_PR_SET_PDEATHSIG = 1
_parent: int | None = None


def name_parent() -> None:
    """Lets the processes that this one starts from now on know whose end is theirs too."""
    os.environ[_NAME] = str(os.getpid())


def parent_process() -> int | None:
    """Returns the process of ours that started this one, None if none did; see watch_parent."""
    return _parent


def watch_parent(tell: bool, seconds: float = 0.5) -> None:
    """Ends this process within about ``seconds`` of the end of the process that started it.

    One killed with SIGKILL, as by a system without memory, cannot end its children itself; they
    would keep devices and write into a folder that the repeated command goes on in. Nothing is
    done where no process of ours started this one.

    Args:
        tell: Says so, in one sentence; of several children one has to.
        seconds: Between two looks.
    """
    global _parent
    parent = os.getppid()
    if os.environ.get(_NAME) != str(parent):
        return
    _parent = parent

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(seconds)
        if tell:
            print(
                f"error: The first process of this run ({parent}) was killed, and the others have "
                "ended themselves: the same command goes on from the last checkpoint.",
                file=sys.stderr,
                flush=True,
            )
        os._exit(1)

    threading.Thread(target=look, daemon=True, name="parent-watch").start()
    # A stopped process runs no thread: with its parent it is woken up, to see that it is alone.
    with suppress(OSError, AttributeError):  # only Linux has it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)


def is_stopped(number: int) -> bool:
    """Returns whether a process is stopped, as by SIGSTOP; False where that cannot be known."""
    try:
        with open(f"/proc/{number}/stat", encoding="utf-8") as file:
            return ") T " in file.read()
    except OSError:
        return False
