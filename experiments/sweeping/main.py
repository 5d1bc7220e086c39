"""The sweep's command: from words to a folder of trials, and an exit status."""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.cli.checks import check
from experiments.cli.compose import compose_words
from experiments.cli.lock import FolderLock
from experiments.reporting.tables import duration
from experiments.sweeping import books
from experiments.sweeping.books import Book
from experiments.sweeping.definition import Definition, find_file, read_definition
from experiments.sweeping.distributions import Parameter
from experiments.sweeping.driver import Driver
from experiments.sweeping.options import Options, read_options
from experiments.sweeping.trials import Trial, as_word, count_of, trial, trial_words
from osdface.errors import UserError

if TYPE_CHECKING:
    from experiments.sweeping.results import Outcome


def run(argv: list[str]) -> int:
    """Runs the words of a command line; returns 0, or 1 where a trial failed.

    Raises:
        UserError: The command, the file or a trial's words are wrong.
    """
    options = read_options(argv)
    if options["part"] in ("agent", "again"):
        raise UserError("part=agent is what W&B's agents start; give sweep= alone.")
    definition = _definition(options)
    if options["part"] == "gather":
        return gather(_folder_of(options))
    if definition.method == "bayes":
        raise UserError(
            f"sweep={options['sweep']} is a Bayesian search, whose trials W&B's server draws"
        )
    count = count_of(definition, options["count"])
    check_trials(definition, options, count)
    wanted = books.content(definition, options)
    folder = books.choose(wanted, options)
    lock = FolderLock(folder)
    if not lock.acquire():
        raise UserError(f"Another process is running the sweep in {folder}: wait for it.")
    try:
        books.keep(folder, wanted, count)
        return run_here(replace(books.open_book(folder), count=count), options)
    finally:
        lock.release()


def _write_results(book: Book) -> "list[Outcome]":
    from experiments.sweeping.results import write_results  # only now: it imports torch

    return write_results(book)


def _definition(options: Options) -> Definition:
    definition = read_definition(find_file(options["sweep"]))
    method = options["method"]
    if method and method != definition.method:
        print(f"{definition.name} is a {definition.method} sweep; its trials are {method} here.")
        definition = replace(definition, method=method)
    if "early_terminate" in definition.raw and definition.method != "bayes":
        print("early_terminate: is W&B's and has no effect here: every trial runs to its end.")
    return definition


def _folder_of(options: Options) -> Path:
    if not options["output_dir"]:
        raise UserError("part=gather needs output_dir= of a sweep that was begun.")
    return Path(options["output_dir"]).absolute()


def check_trials(definition: Definition, options: Options, count: int) -> None:
    """Composes a trial with every listed value once: a slip is told before anything runs.

    Raises:
        UserError: A key, a value or their combination is wrong.
    """
    for parameter in definition.varied:
        if parameter.name in options.further:
            raise UserError(
                f"{parameter.name}= is what the sweep varies: leave it out, or change the file."
            )
    here = Path(options["output_dir"] or "outputs").absolute()
    first = trial(definition, 1, options["draw_seed"])
    trials = [first]
    for parameter in definition.varied:
        for value in parameter.settings.get("values", ()):
            trials.append(Trial(1, {**first.values, parameter.name: value}))
    for each in trials if count > 1 else trials[:1]:
        words = trial_words(definition, each, options.further, here)
        cfg, _ = compose_words(words)
        check(cfg, words)
        if cfg.task == "ablation":
            raise UserError(
                f"experiment={cfg.experiment} is a sweep of its own: take experiment=osdface, and "
                "vary variant."
            )


def gather(folder: Path) -> int:
    """Writes the tables of a sweep from what is on disk; returns 1 if a trial is not finished."""
    book = books.open_book(folder)
    outcomes = _write_results(book)
    print("\n".join(closing(book, outcomes)), flush=True)
    return int(any(outcome.status != "finished" for outcome in outcomes))


def run_here(book: Book, options: Options) -> int:
    """Runs the trials that are not finished, as processes of this machine."""
    todo = [each for each in book.trials() if not books.is_done(book, each.number)]
    head = f"{book.definition.name}: {book.count} trials ({book.definition.method})"
    print(f"{head} in {book.folder}", flush=True)
    if done := book.count - len(todo):
        print(f"{done} finished before: kept", flush=True)
    teller = Teller(book, len(todo), options["parallel"])
    driver = Driver(
        book, options["parallel"], options.gpus, options["stop_after"], teller.ended, teller.say
    )
    try:
        driver.run(todo)
    finally:
        # Also after Ctrl-C: what is there is worth a table.
        outcomes = _write_results(book)
    if driver.stopped:
        print(
            f"{driver.failures} trials in a row failed: the sweep stops (stop_after=0 goes on).",
            flush=True,
        )
    print("\n".join(closing(book, outcomes)), flush=True)
    return int(any(outcome.status != "finished" for outcome in outcomes))


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
        outcomes = _write_results(self.book)
        mine = outcomes[trial.number - 1]
        values = " ".join(f"{p.name}={as_word(trial.values[p.name])}" for p in self._varied)
        print(f"[{self.ended_trials}/{self.total}] {trial.name} {values}", flush=True)
        print(f"  {self._how(mine, seconds)}{self._best(outcomes)}{self._left(mine, seconds)}")
        if mine.status == "failed":
            print(f"  its output: {self.book.log(trial.number)}", flush=True)

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
