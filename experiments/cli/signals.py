"""SIGUSR1, SIGUSR2 and SIGTERM: how Slurm announces a job's end, and how anybody asks for one.

While a run trains they are only noted, since a save must fall on the end of a step and be taken by
all ranks together: :class:`callbacks.Preemption` looks for the note. At any other time they end the
command at once, as Ctrl-C does: what was made is on disk, and the same command goes on from there.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from experiments.cli.ranks import is_follower
from experiments.cli.requeue import requeue
from experiments.cli.srun import in_slurm

# A later one wins over an earlier one. SIGTERM is the end that a user or Slurm wants: bringing back
# a job that was cancelled just after its SIGUSR1 would be wrong, losing a requeue is not.
WATCHED = (signal.SIGUSR2, signal.SIGUSR1, signal.SIGTERM)


class Interrupted(SystemExit):
    """A signal ended the command. Its exit status is 128 + the signal's number.

    A further process of a distributed run ends with 0: Lightning and ``srun --kill-on-bad-exit=1``
    would kill the first one, which still closes its logs, at any other status.
    """

    def __init__(self, number: int, requeued: bool = False) -> None:
        super().__init__(0 if is_follower() else 128 + number)
        self.number = signal.Signals(number)
        self.requeued = requeued

    def __str__(self) -> str:
        return self.number.name


def interruption_of(status: int) -> signal.Signals | None:
    """Returns which signal a process ended by, from its exit status; None if by none of ours."""
    number = -status if status < 0 else status - 128
    return signal.Signals(number) if number in WATCHED else None


class SignalWatch:
    """Notes signals for the training of this process, or raises :class:`Interrupted`.

    Attributes:
        leaving: The command is on its way out; further signals change nothing.
    """

    def __init__(self) -> None:
        self._level = 0
        self._deferred = self.leaving = self._requeued = False
        self._pid: int | None = None

    @property
    def level(self) -> int:
        """What was noted: 0 for nothing, else a number that ranks can take the largest of."""
        return self._level

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handles the signals in this block, and only notes them before :meth:`obey`."""
        before = {number: signal.getsignal(number) for number in WATCHED}
        self._level, self._deferred, self.leaving, self._requeued = 0, True, False, False
        self._pid = os.getpid()
        self.install()
        try:
            yield
        finally:
            self._pid = None
            if threading.current_thread() is threading.main_thread():
                for number, handler in before.items():
                    signal.signal(number, handler)

    def install(self) -> None:
        """Sets the handlers, again where Lightning has put its own of SIGTERM over them.

        That one takes part in a collective wherever the signal lands, and exits without a save.
        """
        if self._pid == os.getpid() and threading.current_thread() is threading.main_thread():
            for number in WATCHED:
                signal.signal(number, self._note)

    def _note(self, number: int, _: FrameType | None) -> None:
        # A forked process has this handler too, until it sets its own.
        if self.leaving or os.getpid() != self._pid:
            return
        self._level = max(self._level, 1 + WATCHED.index(signal.Signals(number)))
        if not self._deferred:
            self.leaving = True
            raise Interrupted(number)

    @contextmanager
    def deferred(self, alone: bool = True) -> Iterator[None]:
        """Only notes signals in this block.

        One that came too late for a save ends the command after it; without ``alone`` the next
        training does so, since other ranks may not have got it and would wait for this one.
        """
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        if alone:
            self.obey()

    def obey(self) -> None:
        """Ends the command at any signal from now on, and now if one was noted."""
        self._deferred = False
        if self._level:
            self.leave(self._level)

    def leave(self, level: int) -> NoReturn:
        """Ends the command for the agreed ``level``; what it has done must be on disk.

        After SIGUSR1 or SIGUSR2 in a Slurm job the first process asks Slurm to requeue it.
        """
        self.leaving = True
        number = WATCHED[level - 1]
        self.requeue_after(number)
        raise Interrupted(number, self._requeued)

    def last_words(self, interruption: Interrupted, tell: bool) -> int:
        """Requeues where nobody has yet; ``tell``: says what ended it. Returns the exit status."""
        self._requeued |= interruption.requeued
        self.requeue_after(interruption.number)
        said = in_slurm() and interruption.number != signal.SIGTERM
        if tell and not said and not is_follower():
            print(f"Interrupted by {interruption}; the same command goes on.", file=sys.stderr)
        return int(interruption.code or 0)

    def requeue_after(self, number: int) -> None:
        """Requeues the Slurm job once, unless ``number`` is SIGTERM.

        After a preemption Slurm does it itself, and what a user cancels stays cancelled.
        """
        if number == signal.SIGTERM or self._requeued or is_follower() or not in_slurm():
            return
        self._requeued, said = requeue()
        print(said, file=sys.stderr, flush=True)


watch = SignalWatch()
