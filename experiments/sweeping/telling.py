"""What a sweep prints: a line after each trial with the time left, and where things lie."""

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.reporting.tables import duration
from experiments.sweeping.books import Book
from experiments.sweeping.distributions import Parameter
from experiments.sweeping.trials import Trial, as_word

if TYPE_CHECKING:
    from experiments.sweeping.results import Outcome


def write_results(book: Book) -> "list[Outcome]":
    """Writes tables and picture of a sweep; see :mod:`experiments.sweeping.results`."""
    from experiments.sweeping import results  # only now: it imports torch

    return results.write_results(book)


class Teller:
    """Prints a line after each trial, with the time left, and writes the tables anew."""

    def __init__(self, book: Book, total: int, parallel: int) -> None:
        self.book, self.total, self.parallel = book, total, parallel
        self.ended_trials = 0
        self.seconds: list[float] = []

    def say(self, line: str) -> None:
        print(line, flush=True)

    def ended(self, trial: Trial, code: int, seconds: float) -> None:
        """Tells that a trial's process has ended."""
        self.ended_trials += 1
        outcomes = write_results(self.book)
        mine = outcomes[trial.number - 1]
        values = " ".join(f"{p.name}={as_word(trial.values[p.name])}" for p in self._varied)
        print(f"[{self.ended_trials}/{self.total}] {trial.name} {values}", flush=True)
        print(f"  {self._how(mine, seconds)}{self._best(outcomes)}{self._left(mine, seconds)}")
        if mine.status == "failed":
            print(f"  its output: {self.book.log(trial)}", flush=True)

    @property
    def _varied(self) -> Sequence[Parameter]:
        return self.book.definition.varied

    def _how(self, mine: "Outcome", seconds: float) -> str:
        if mine.status != "finished":
            return f"{mine.status}: {mine.run.reason if mine.run else 'nothing known'}"
        value = "" if mine.value is None else f", {self.book.definition.metric} {mine.value:.4f}"
        return f"finished in {duration(seconds)}{value}"

    def _best(self, outcomes: "Sequence[Outcome]") -> str:
        from experiments.sweeping.results import best_of

        best = best_of(self.book, outcomes)
        if best is None or best.mean is None:
            return ""
        names = ", ".join(each.trial.name for each in best.outcomes if each.value is not None)
        return f"; best {best.mean:.4f} ({names})"

    def _left(self, mine: "Outcome", seconds: float) -> str:
        if mine.status == "finished":
            self.seconds.append(seconds)
        left = self.total - self.ended_trials
        if not left or not self.seconds:
            return ""
        rounds = -(-left // self.parallel)
        return f"; {left} left, about {duration(rounds * statistics.median(self.seconds))}"


def closing(book: Book, outcomes: "Sequence[Outcome]") -> list[str]:
    """Returns how the trials stand and where things lie; the last line is the folder."""
    states = [outcome.status for outcome in outcomes]
    lines = [f"{name:12} {states.count(name)} trials" for name in dict.fromkeys(sorted(states))]
    files = [name for name in ("trials.csv", "summary.md") if (book.folder / name).is_file()]
    lines.append(f"tables       {', '.join(files)}")
    if (book.folder / "sweep.png").is_file():
        lines.append("picture      sweep.png")
    lines.append(f"to compare   python -m experiments.compare runs={book.folder}")
    return [*lines, str(book.folder)]
