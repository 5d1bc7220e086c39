"""The lock of an output folder ends with the process that took it."""

import errno
import multiprocessing
import os
import signal
import time

import pytest

from experiments import run, sweep
from experiments.cli.folders import choose_folder
from experiments.cli.lock import FolderLock
from osdface.errors import UserError


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


def test_a_place_that_cannot_be_written_is_told_in_one_sentence(tmp_path, monkeypatch, capsys):
    (tmp_path / "outputs").touch()
    monkeypatch.chdir(tmp_path)
    for command in (run.main, sweep.main):
        words = ["experiment=vre"] if command is run.main else ["sweep=lora_rank"]
        assert command(words) == 2
        told = capsys.readouterr().err
        assert "cannot be written" in told and "output_dir=" in told and "Traceback" not in told


def test_an_unfinished_run_of_somebody_else_is_told(tmp_path, monkeypatch):
    config = {"experiment": "vre", "resume": "auto", "output_dir": None}
    other = tmp_path / "outputs" / "vre" / "theirs"
    other.mkdir(parents=True)
    (other / "config.yaml").write_text("experiment: vre\n")
    (other / ".lock").mkdir()  # what nobody may open to write
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"theirs holds this run.*resume=never"):
        choose_folder(config, lambda folder: False)
