"""A lock on an output folder: one run at a time writes into it."""

import fcntl
import os
from pathlib import Path


class FolderLock:
    """Holds a folder for this process; the kernel lets go of it when the process ends, however.

    The lock file stays: removing it would let a third process lock a file that is gone. On a file
    system that knows no locks, such as a Lustre mounted without them, nothing keeps others out.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".lock"
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Returns whether the folder is now held; never waits."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:
            pass  # a file system without locks: no other process could hold it either
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor
        # A forked loader worker lives some seconds after its parent was killed and would hold on.
        os.register_at_fork(after_in_child=self.release)
        return True

    def release(self) -> None:
        """Lets go of the folder."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_held(folder: Path) -> bool:
    """Returns whether a process holds the folder just now."""
    if not (folder / ".lock").exists():
        return False
    lock = FolderLock(folder)
    held = not lock.acquire()
    lock.release()
    return held
