"""The trials of a sweep on this machine: processes of ``experiments.run``, a few at a time."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.cli.words import to_argv
from experiments.sweeping.books import INTERRUPTED, Book, claim, is_done, note
from experiments.sweeping.trials import Trial, trial_words

_POLL_S = 0.2
_PATIENCE_S = 60
# What starts a run; tests put a quicker process in its place.
COMMAND = [sys.executable, "-m", "experiments.run"]


@dataclass
class _Running:
    trial: Trial
    process: subprocess.Popen[bytes]
    slot: int
    start: float


class Driver:
    """Runs trials, at most ``parallel`` at a time, and tells after each one.

    A process writes to its own log file. It is started in a session of its own, so that Ctrl-C
    reaches this process alone, which then ends the others in an orderly way.
    """

    def __init__(
        self,
        book: Book,
        parallel: int = 1,
        gpus: Sequence[str] = (),
        stop_after: int = 0,
        tell: Callable[[Trial, int, float], None] = lambda *_: None,
        say: Callable[[str], None] = print,
    ) -> None:
        """Settings.

        Args:
            book: The sweep.
            parallel: Trials at a time.
            gpus: CUDA devices shared out among them; none leaves the environment alone.
            stop_after: Failed trials in a row that end the sweep; 0 never.
            tell: Called after each trial with it, its exit status and its seconds.
            say: Prints a line.
        """
        self.book, self.parallel, self.gpus = book, parallel, list(gpus)
        self.stop_after, self.tell, self.say = stop_after, tell, say
        self.running: list[_Running] = []
        self.failures = 0

    @property
    def stopped(self) -> bool:
        """Whether too many trials in a row have failed."""
        return bool(self.stop_after) and self.failures >= self.stop_after

    def run(self, trials: Sequence[Trial]) -> None:
        """Runs the trials; returns early where :attr:`stopped`."""
        waiting = list(trials)
        told: set[str] = set()
        with _terminable():
            try:
                while (waiting and not self.stopped) or self.running:
                    self._collect()
                    if self.stopped:
                        waiting = []
                    if len(self.running) < self.parallel and waiting:
                        self._start_one(waiting, told)
                    time.sleep(_POLL_S)
            except BaseException as error:
                self._end(signal.SIGTERM if isinstance(error, SystemExit) else signal.SIGINT)
                raise

    def _start_one(self, waiting: list[Trial], told: set[str]) -> None:
        for trial in waiting:
            if is_done(self.book, trial):  # by a process that outlived an earlier start
                waiting.remove(trial)
                self.tell(trial, 0, 0.0)
                return
            held = claim(self.book.folder, trial)
            if held is None:
                if trial.name not in told:
                    told.add(trial.name)
                    self.say(f"{trial.name} is still being run by another process: waiting for it")
                continue
            waiting.remove(trial)
            try:
                self.running.append(self._start(trial, held))
            finally:
                os.close(held)
            return

    def _start(self, trial: Trial, held: int) -> _Running:
        book = self.book
        words = trial_words(book.definition, trial, book.further, book.folder)
        slot = min(set(range(self.parallel)) - {each.slot for each in self.running})
        log = book.log(trial)
        log.parent.mkdir(parents=True, exist_ok=True)
        note(book.folder, trial, None)
        with open(log, "ab") as output:
            process = subprocess.Popen(
                [*COMMAND, *to_argv(words)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment(slot),
                pass_fds=[held],
                start_new_session=True,
            )
        return _Running(trial, process, slot, time.monotonic())

    def _environment(self, slot: int) -> Mapping[str, str]:
        if not self.gpus:
            return os.environ
        return {**os.environ, "CUDA_VISIBLE_DEVICES": self.gpus[slot % len(self.gpus)]}

    def _collect(self) -> None:
        for each in list(self.running):
            code = each.process.poll()
            if code is None:
                continue
            self.running.remove(each)
            self._close(each, code)
            self.tell(each.trial, code, time.monotonic() - each.start)

    def _close(self, each: _Running, code: int) -> None:
        good = code == 0 and is_done(self.book, each.trial)
        reason = None if good else last_words(self.book.log(each.trial), code)
        note(self.book.folder, each.trial, code or (0 if good else 1), reason)
        self.failures = 0 if good else self.failures + (code not in INTERRUPTED)

    def _end(self, number: signal.Signals) -> None:
        """Asks every trial to stop, and kills those that do not."""
        for each in self.running:
            with suppress(ProcessLookupError):
                os.killpg(each.process.pid, number)
        until = time.monotonic() + _PATIENCE_S
        for each in self.running:
            try:
                each.process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(each.process.pid, signal.SIGKILL)
                each.process.wait()
            note(self.book.folder, each.trial, None)  # however it ended: it was asked to
        self.running = []


def last_words(log: Path, code: int) -> str:
    """Returns why a process failed, as far as the end of its output tells; one line."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-200:]
    except OSError:
        lines = []
    said = [line.strip() for line in lines if line.strip()]
    mistakes = [line for line in said if line.startswith("error: ")]
    if code == 2 and mistakes:
        return mistakes[-1].removeprefix("error: ")[:300]
    if code < 0:
        return f"its process was ended by signal {-code}"
    return f"exit status {code}: {said[-1][:200]}" if said else f"exit status {code}"


@contextmanager
def _terminable() -> Iterator[None]:
    """Makes SIGTERM end the trials too: it leaves as exit status 143."""

    def leave(*_: Any) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
