"""A restoration method: its command, and what it needs to be run."""

import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

THIS = "this"
WORD = re.compile(r"\{(\w+)\}")
_BARE = {"tiny"}  # values of a path that are names, not files


@dataclass(frozen=True)
class Method:
    """A restoration method and how to run it; what a field means stands beside it in the files.

    ``key`` is the file's name. ``paths`` are words of the command that must exist; relative ones
    start from the checkout.
    """

    key: str
    name: str
    repository: str
    licence: str
    command: str
    outputs: str
    suffix: str = ""
    steps: int | None = None
    checkout: str | None = None
    python: str | None = None
    paths: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def folder(self) -> Path | None:
        """The checkout; None where it is not given."""
        if self.checkout is None:
            return None
        return Path.cwd() if self.checkout == THIS else Path(self.checkout).expanduser().absolute()

    @property
    def interpreter(self) -> Path:
        """The interpreter of its environment; not resolved, since a venv's is a link."""
        if self.python == THIS:
            return Path(sys.executable)
        if self.python:
            return Path(self.python).expanduser().absolute()
        return (self.folder or Path()) / ".venv/bin/python"

    @property
    def is_ours(self) -> bool:
        """Whether it runs by the interpreter and environment of the benchmark itself."""
        return self.python == THIS

    def needed(self) -> dict[str, Path]:
        """Returns the files and folders that its paths name."""
        folder = self.folder or Path()
        return {
            name: folder / Path(value).expanduser()
            for name, value in self.paths.items()
            if value is not None and value not in _BARE
        }

    def lacking(self) -> str:
        """Returns what keeps it from being run, one clause; empty if nothing does."""
        where = f"baseline.{self.key}"
        if self.folder is None:
            return f"no checkout: clone {self.repository} and give {where}.checkout=DIR"
        if not self.folder.is_dir():
            return f"its checkout {self.folder} is not there"
        if not self.interpreter.is_file():
            return f"no interpreter {self.interpreter}: give {where}.python=PATH"
        for name, value in self.paths.items():
            if value is None:
                return f"{where}.paths.{name}= is not given"
        for name, path in self.needed().items():
            if not path.exists():
                return f"{where}.paths.{name}={self.paths[name]} is not there"
        return ""

    def command_line(self, inputs: Path, output: Path) -> list[str]:
        """Returns the words of the process that restores the folder ``inputs`` into ``output``."""
        known = {"python": str(self.interpreter), "input": str(inputs), "output": str(output)}
        known |= {name: str(value) for name, value in self.paths.items()}
        known |= {name: str(path) for name, path in self.needed().items()}
        # Split before anything is filled in: a path with spaces stays one word.
        words = shlex.split(self.command)
        return [WORD.sub(lambda match: known[match[1]], word) for word in words]


def changed(method: Method, words: Mapping[str, str | None]) -> Method:
    """Returns a method with ``baseline.KEY.FIELD`` words applied: ``{FIELD: value}``."""
    paths = dict(method.paths)
    fields: dict[str, Any] = {}
    for name, value in words.items():
        if name.startswith("paths."):
            paths[name.removeprefix("paths.")] = value and _absolute(value)
        else:
            fields[name] = value
    return replace(method, paths=paths, **fields)


def _absolute(value: str) -> str:
    """A path of the command line starts from here, not from the checkout."""
    return value if value in _BARE else str(Path(value).expanduser().absolute())
