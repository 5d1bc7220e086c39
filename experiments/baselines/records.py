"""What a benchmark leaves on disk, ``benchmark.json``, and reading it back."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from experiments.baselines.methods import Method
from experiments.baselines.runs import Run
from osdface.errors import UserError
from osdface.files import read_json, write_json

FILE = "benchmark.json"


@dataclass
class Entry:
    """A method and what became of it."""

    name: str
    steps: int | None
    run: Run


@dataclass
class Record:
    """One benchmark: one set of pictures, several methods.

    Attributes:
        suite: Which figures.
        set: Of the suite real_world: wider, lfw or webphoto; empty otherwise.
        images: Number of inputs.
        inputs: A digest of their names, sizes and times, and of the references' place.
        measures: Column -> ``{"text", "comparable"}``.
        machine: Where it was timed.
        created: ISO time.
        entries: Method key -> entry.
        folder: Where it was read.
    """

    suite: str
    set: str
    images: int
    inputs: str = ""
    measures: dict[str, dict[str, Any]] = field(default_factory=dict)
    machine: str = ""
    created: str = ""
    entries: dict[str, Entry] = field(default_factory=dict)
    folder: Path | None = None

    def add(self, method: Method, run: Run) -> None:
        """Takes a method's result in; one that is absent now keeps what it had."""
        before = self.entries.get(method.key)
        if before and before.run.scorable and run.state == "absent":
            return
        self.entries[method.key] = Entry(method.name, method.steps, run)

    def take_over(self, before: "Record") -> bool:
        """Keeps the methods of an earlier record of the same pictures and measures; else False."""
        names = ("suite", "set", "inputs", "measures")
        if any(getattr(self, name) != getattr(before, name) for name in names):
            return False
        self.entries = dict(before.entries)
        return True

    def write(self, folder: Path) -> None:
        """Writes ``benchmark.json``."""
        content = asdict(self)
        content.pop("folder")
        write_json(folder / FILE, content)


def read_record(path: Path) -> Record:
    """Reads a ``benchmark.json``; UserError if it is none."""
    try:
        found: Mapping[str, Any] = read_json(path)
        entries = {
            key: Entry(each["name"], each["steps"], Run(**each["run"]))
            for key, each in found["entries"].items()
        }
        return Record(**{**found, "entries": entries}, folder=path.parent)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} cannot be read: it is no result of this benchmark.") from error


def read_records(folder: Path) -> list[Record]:
    """Returns all benchmarks below a folder, the oldest first."""
    return sorted((read_record(path) for path in folder.rglob(FILE)), key=lambda r: r.created)
