"""From the words of the restoring command to its results and exit status."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from tqdm import tqdm

from experiments.cli.lock import FolderLock
from experiments.restoring.options import Options, parse_options
from experiments.restoring.outcomes import Outcome
from experiments.restoring.photos import find_photos
from experiments.restoring.records import FOLDER, Records
from osdface.errors import UserError

_LINES = 10


def run(argv: list[str]) -> int:
    """Runs the command; returns 0, or 1 if a picture failed.

    Raises:
        UserError: The command is wrong, or what it names is missing.
    """
    options = parse_options(argv)
    output = Path(options.output).expanduser()
    if output.exists() and not output.is_dir():
        raise UserError(f"output={output} is a file: name a folder.")
    photos = find_photos(options.input, output)
    records = Records(options)
    records.check_free(photos)
    todo = [photo for photo in photos if not records.is_done(photo)]
    tally = _Tally(len(photos) - len(todo))
    if todo:
        # Only now: torch and diffusers take seconds.
        from experiments.restoring.processes import restore_all

        (output / FOLDER).mkdir(parents=True, exist_ok=True)
        lock = FolderLock(output / FOLDER)
        if not lock.acquire():
            raise UserError(f"Another process is restoring into {output}: wait for it.")
        if options.checkpoint == "tiny":
            print("checkpoint=tiny knows drawn portraits of 64 px alone: on photographs it only")
            print("shows that the command works.", flush=True)
        try:
            with closing(restore_all(options, todo)) as outcomes:
                for outcome in _shown(outcomes, len(todo), options):
                    tally.add(outcome)
        finally:
            lock.release()
    print(tally.summary())
    print(output.absolute(), flush=True)
    return 1 if tally.errors else 0


class _Tally:
    """Counts what became of the pictures."""

    def __init__(self, before: int) -> None:
        self.before, self.restored, self.faces, self.faceless = before, 0, 0, 0
        self.errors: list[str] = []

    def add(self, outcome: Outcome) -> None:
        if outcome.error is not None:
            self.errors.append(outcome.error)
        elif outcome.faces:
            self.restored += 1
            self.faces += outcome.faces
        else:
            self.faceless += 1

    def summary(self) -> str:
        parts = [f"{self.restored} restored ({self.faces} faces)"]
        if self.before:
            parts.append(f"{self.before} done before")
        if self.faceless:
            parts.append(f"{self.faceless} without a face")
        if self.errors:
            parts.append(f"{len(self.errors)} failed")
        lines = [", ".join(parts)]
        return "\n".join([*lines, *(f"  failed: {error}" for error in self.errors)])


def _shown(outcomes: Iterable[Outcome], total: int, options: Options) -> Iterator[Outcome]:
    """Passes outcomes on and shows how far they are, notes and failures at once."""
    terminal = sys.stderr.isatty()
    start = time.monotonic()
    with tqdm(
        total=total, desc="restoring", unit="picture", disable=not (options.progress and terminal)
    ) as bar:
        for number, outcome in enumerate(outcomes, 1):
            for note in outcome.notes:
                tqdm.write(f"{outcome.source}: {note}.", file=sys.stdout)
            if outcome.error is not None:
                tqdm.write(f"failed: {outcome.error}", file=sys.stderr)
            bar.update()
            tenth = number * _LINES // total > (number - 1) * _LINES // total
            if options.progress and not terminal and tenth:
                spent = time.monotonic() - start
                left = spent / number * (total - number)
                print(f"{number}/{total} pictures, {spent:.0f} s spent, {left:.0f} s left")
            yield outcome
