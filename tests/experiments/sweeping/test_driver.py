"""The driver with real processes: order, failures, interruption, a kill, a second start."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.cli.signals import WATCHED
from experiments.sweeping.books import INTERRUPTED, Book, claim, record_path, state
from experiments.sweeping.driver import Driver
from experiments.sweeping.trials import LOG

DRIVE = """
import sys
from pathlib import Path
from experiments.sweeping import driver
from experiments.sweeping.books import open_book
driver.COMMAND = {command!r}
book = open_book(Path({folder!r}))
driver.Driver(book, parallel=2).run(book.trials())
"""


def states(book: Book) -> list[str | None]:
    found = [state(book, each) for each in book.trials()]
    return [run and run.status for run in found]


def begun(book: Book, number: int) -> list[str]:
    path = book.folder / f"trial-000{number}/begun.txt"
    return path.read_text().splitlines() if path.exists() else []


def until(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.05)


def test_all_trials_run_and_tell(sweeps) -> None:
    book = sweeps.book(f"sweep={sweeps.ranks(1, 2, 4)}")
    told: list[tuple[int, int]] = []
    Driver(book, tell=lambda trial, code, _: told.append((trial.number, code))).run(book.trials())
    assert told == [(1, 0), (2, 0), (3, 0)]
    assert states(book) == ["finished"] * 3
    assert [run.metrics["psnr"] for t in book.trials() if (run := state(book, t))] == [
        21.0,
        22.0,
        24.0,
    ]


def test_as_many_at_a_time_as_asked_for_on_devices_of_their_own(sweeps, monkeypatch) -> None:
    monkeypatch.setenv("FAKE_RUN_SECONDS", "1")
    book = sweeps.book(f"sweep={sweeps.ranks(1, 2, 3, 4)}", "count=4")
    Driver(book, parallel=2, gpus=["3", "7"]).run(book.trials())
    spans, devices = [], set()
    for number in range(1, 5):
        first, last = begun(book, number)
        spans.append((float(first.split()[0]), float(last.split()[0])))
        devices.add(first.split()[1])
    overlaps = [sum(a <= start < b for a, b in spans) for start, _ in spans]
    assert max(overlaps) == 2 and devices == {"3", "7"}


def test_failures_are_kept_with_their_reason_and_the_sweep_goes_on(sweeps) -> None:
    book = sweeps.book(f"sweep={sweeps.ranks(1, 2, 3, 4, 5)}", "count=5")
    sweeps.does(trial1="fail", trial2="mistake", trial4="die")
    driver = Driver(book, stop_after=3)
    driver.run(book.trials())
    assert states(book) == ["failed", "failed", "finished", "failed", "finished"]
    reasons = [run.reason for t in book.trials() if (run := state(book, t)) and run.reason]
    assert reasons[0] == "ValueError: loss is nan"
    assert reasons[1] == "base.path=nowhere: there is no such folder."
    assert reasons[2] == "its process was ended by signal 9"
    assert not driver.stopped and "loss is nan" in book.log(book.trials()[0]).read_text()
    # A second start tries the failed ones again and leaves the others alone.
    Driver(book).run([t for t in book.trials() if t.number in (1, 2, 4)])
    assert states(book) == ["finished"] * 5


def test_failures_in_a_row_end_the_sweep(sweeps) -> None:
    book = sweeps.book(f"sweep={sweeps.ranks(1, 2, 3, 4)}", "count=4")
    sweeps.does(trial2="fail", trial3="mistake")
    driver = Driver(book, stop_after=2)
    driver.run(book.trials())
    assert driver.stopped and states(book) == ["finished", "failed", "failed", None]


def test_ctrl_c_ends_the_trials_and_the_next_start_goes_on(sweeps, monkeypatch) -> None:
    book = sweeps.book(f"sweep={sweeps.ranks(1, 2, 3)}")
    sweeps.does(trial1="hang", trial2="hang")
    driver = Driver(book, parallel=2)
    handlers = {each: signal.getsignal(each) for each in (signal.SIGALRM, signal.SIGINT)}

    def when_both_run(*_: object) -> None:
        if begun(book, 1) and begun(book, 2):
            os.kill(os.getpid(), signal.SIGINT)
        else:
            signal.setitimer(signal.ITIMER_REAL, 0.2)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell says so
    signal.signal(signal.SIGALRM, when_both_run)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            driver.run(book.trials())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert states(book) == ["running", "running", None]
    for trial in book.trials()[:2]:  # nobody holds them any more
        held = claim(book.folder, trial)
        assert held is not None
        os.close(held)
    Driver(book).run(book.trials())
    assert states(book) == ["finished"] * 3 and len(begun(book, 1)) == 3


def test_sigterm_ends_the_trials_too(sweeps) -> None:
    book = sweeps.book(f"sweep={sweeps.ranks(1, 2, 3)}")
    sweeps.does(trial1="hang")
    with started(book) as process:
        until(lambda: begun(book, 1))
        process.terminate()
        assert process.wait(60) == 143
    held = claim(book.folder, book.trials()[0])
    assert held is not None
    os.close(held)


class started:
    """The driver in a process of its own."""

    def __init__(self, book: Book) -> None:
        from experiments.sweeping import driver

        text = DRIVE.format(command=driver.COMMAND, folder=str(book.folder))
        root = Path(__file__).resolve().parents[3]
        environment = {**os.environ, "PYTHONPATH": str(root)}
        self.process = subprocess.Popen([sys.executable, "-c", text], env=environment)

    def __enter__(self) -> "subprocess.Popen[bytes]":
        return self.process

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def test_after_a_kill_the_orphan_is_waited_for_and_the_rest_is_run(sweeps, monkeypatch) -> None:
    monkeypatch.setenv("FAKE_RUN_SECONDS", "3")
    book = sweeps.book(f"sweep={sweeps.ranks(1, 2, 3)}")
    with started(book) as process:
        until(lambda: begun(book, 1) and begun(book, 2))
        process.send_signal(signal.SIGKILL)
        process.wait()
    # The trials outlived their driver: they are not started a second time beside themselves.
    assert states(book) == ["running", "running", None]
    said: list[str] = []
    Driver(book, say=said.append).run(book.trials())
    assert states(book) == ["finished"] * 3
    assert "still being run by another process" in said[0]
    assert [len(begun(book, number)) for number in (1, 2, 3)] == [2, 2, 2]


def test_a_killed_trial_goes_on_in_its_folder(sweeps) -> None:
    book = sweeps.book(f"sweep={sweeps.ranks(1, 2, 3)}")
    sweeps.does(trial2="die")
    Driver(book).run(book.trials())
    assert states(book) == ["finished", "failed", "finished"]
    assert record_path(book.folder, book.trials()[1]).is_file() and (book.folder / LOG).is_dir()
    Driver(book).run(book.trials())
    assert states(book) == ["finished"] * 3
    assert [len(begun(book, number)) for number in (1, 2, 3)] == [2, 3, 2]


def test_every_signal_that_a_run_goes_on_after_is_an_interruption() -> None:
    """Whether the run left by it with a status, or was ended by it."""
    assert {128 + number for number in WATCHED} | {-number for number in WATCHED} <= {*INTERRUPTED}
