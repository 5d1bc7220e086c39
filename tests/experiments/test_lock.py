"""The lock of an output folder ends with the process that took it."""

import errno
import multiprocessing
import os
import signal
import time

from experiments.cli.lock import FolderLock


def hold(folder, told):
    """Takes the lock, then forks a child that lives on, as a loader has."""
    taken = FolderLock(folder).acquire()
    if os.fork() == 0:
        time.sleep(8)
        os._exit(0)
    told.put(taken)
    time.sleep(60)


def test_a_killed_process_lets_go_though_its_workers_live_on(tmp_path):
    context = multiprocessing.get_context("fork")
    told = context.Queue()
    process = context.Process(target=hold, args=(tmp_path, told))
    process.start()
    assert told.get(timeout=60)
    assert not FolderLock(tmp_path).acquire()  # the child that let go did not free it
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    lock = FolderLock(tmp_path)
    assert lock.acquire()
    lock.release()


def test_a_file_system_without_locks_keeps_nobody_out(tmp_path, monkeypatch):
    """As a Lustre that is mounted without them; a folder that is held is another answer."""

    def flock(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    lock = FolderLock(tmp_path)
    assert lock.acquire()
    lock.release()
