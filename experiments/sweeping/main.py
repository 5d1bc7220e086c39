"""The sweep's command: from words to a folder of trials, and an exit status."""

import os
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from experiments.cli.checks import check
from experiments.cli.compose import compose_words
from experiments.cli.lock import FolderLock
from experiments.cli.words import parse_words, to_argv
from experiments.launching.record import refuse_while_queued
from experiments.sweeping import agents, books, cluster
from experiments.sweeping.books import Book
from experiments.sweeping.definition import Definition, find_file, read_definition
from experiments.sweeping.driver import Driver
from experiments.sweeping.options import Options, read_options
from experiments.sweeping.telling import Teller, closing, write_results
from experiments.sweeping.trials import Trial, count_of, trial, trial_words
from osdface.errors import UserError


def run(argv: list[str]) -> int:
    """Runs the words of a command line; returns 0, or 1 where a trial failed.

    Raises:
        UserError: The command, the file or a trial's words are wrong.
    """
    options = read_options(argv)
    if options["part"] == "gather":
        return gather(_folder_of(options))
    if options["part"] in ("agent", "again"):
        return run_drawn(options)
    definition = _definition(options)
    dry = options.slurm.get("slurm.dry_run", "").lower() in ("true", "yes", "on")
    if definition.method == "bayes" and not dry:
        agents.check_account()
    count = count_of(definition, options["count"])
    check_trials(definition, options, count)
    asked = cluster.ask(definition, options) if options["launcher"] == "slurm" else None
    wanted = books.content(definition, options)
    folder = books.choose(wanted, options, make=not dry)
    if dry:
        book = Book(folder, definition, options.further, options["draw_seed"], count)
        return submit_all(book, options, asked)
    return _run_in(folder, wanted, count, options, asked)


def _run_in(
    folder: Path, wanted: Mapping[str, Any], count: int, options: Options, asked: Any
) -> int:
    lock = FolderLock(folder)
    if not lock.acquire():
        raise UserError(f"Another process is running the sweep in {folder}: wait for it.")
    try:
        books.keep(folder, wanted, count)
        book = replace(books.open_book(folder), count=count)
        if all(books.is_done(book, each) for each in book.trials()) and _missing(book) == 0:
            print("All trials are finished: nothing to do.")
            return gather(folder)
        if asked:
            return submit_all(book, options, asked)
        refuse_while_queued(folder)
        if book.definition.method == "bayes":
            return run_agents(book, options)
        return run_here(book, options)
    finally:
        lock.release()


def _missing(book: Book) -> int:
    """How many trials a Bayesian sweep still lacks."""
    if book.definition.method != "bayes":
        return 0
    return max(0, book.count - sum(books.is_done(book, each) for each in book.trials()))


def submit_all(book: Book, options: Options, asked: Any) -> int:
    """Submits the trials to Slurm; ``asked`` is what :func:`cluster.ask` returned."""
    cfg, layout = asked
    again = [f"sweep={options['sweep']}", "part=gather", f"output_dir={book.folder}"]
    if book.definition.method != "bayes":
        return cluster.launch(book, cfg, layout, again)
    print("\n".join(agents.submit_agents(book, options, cfg, _missing(book), again)))
    print(book.folder, flush=True)
    return 0


def run_agents(book: Book, options: Options) -> int:
    """Runs the trials of a Bayesian sweep that are missing, by W&B's agents on this machine."""
    try:
        agents.run_agents(book, options, _missing(book))
    finally:
        code = gather(book.folder)
    return code


def run_drawn(options: Options) -> int:
    """Becomes the run that W&B's agent asks for."""
    command, environment = agents.trial_command(books.open_book(_folder_of(options)), options)
    os.execvpe(command[0], command, environment)


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
        raise UserError(f"part={options['part']} needs output_dir= of a sweep that was begun.")
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
    unlike = [each for each in trials[1:] if each != first]
    for each in [first, *unlike] if count > 1 else [first]:
        words = parse_words(to_argv(trial_words(definition, each, options.further, here)))
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
    outcomes = write_results(book)
    print("\n".join(closing(book, outcomes)), flush=True)
    return int(any(outcome.status != "finished" for outcome in outcomes))


def run_here(book: Book, options: Options) -> int:
    """Runs the trials that are not finished, as processes of this machine."""
    todo = [each for each in book.trials() if not books.is_done(book, each)]
    head = f"{book.definition.name}: {book.count} trials ({book.definition.method})"
    print(f"{head} in {book.folder}", flush=True)
    if done := book.count - len(todo):
        print(f"{done} finished before: kept", flush=True)
    # Before the first trial: after Ctrl-C nobody wants to wait for an import.
    import_module("experiments.sweeping.results")
    teller = Teller(book, len(todo), options["parallel"])
    driver = Driver(
        book, options["parallel"], options.gpus, options["stop_after"], teller.ended, teller.say
    )
    try:
        driver.run(todo)
    finally:
        # Also after Ctrl-C: what is there is worth a table.
        outcomes = write_results(book)
    if driver.stopped:
        print(
            f"{driver.failures} trials in a row failed: the sweep stops (stop_after=0 goes on).",
            flush=True,
        )
    print("\n".join(closing(book, outcomes)), flush=True)
    return int(any(outcome.status != "finished" for outcome in outcomes))
