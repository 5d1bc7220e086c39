"""Plain commands: ``key=value`` words against a table of keys, without a composed configuration."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.cli.guard import guarded
from experiments.cli.suggest import unknown
from experiments.cli.words import parse_words
from osdface.errors import UserError

REQUIRED = "required"


@dataclass(frozen=True)
class Key:
    """One key of a plain command.

    Attributes:
        default: Its value where it is not given; the type of a given value is the default's.
            :data:`REQUIRED` marks a text that must be given.
        comment: What it means, for ``--help``.
        choices: The values allowed; empty allows all.
    """

    default: Any
    comment: str
    choices: tuple[str, ...] = ()


def read_words(argv: list[str], keys: Mapping[str, Key]) -> dict[str, Any]:
    """Returns the value of every key.

    Raises:
        UserError: A word is no ``key=value``, its key is unknown or its value of the wrong type, or
            a required key is missing.
    """
    from experiments.cli.values import typed_value  # only now: --help answers at once

    values = {name: key.default for name, key in keys.items()}
    for name, text in parse_words(argv).items():
        if name not in keys:
            raise unknown("key", name, keys)
        default, choices = keys[name].default, keys[name].choices
        values[name] = typed_value(name, text, None if default is REQUIRED else default)
        if choices and values[name] not in choices:
            raise unknown(f"value of {name}", text, choices)
        if values[name] is None and default is not None:
            raise UserError(f"{name}=null is wrong: {name} needs a value.")
    if missing := [name for name, value in values.items() if value is REQUIRED]:
        wanted = " ".join(f"{name}=..." for name in missing)
        raise UserError(f"{wanted} is missing: --help explains the keys.")
    return values


def help_text(head: str, keys: Mapping[str, Key]) -> str:
    """Returns ``head`` and a line for every key."""
    lines = [head.rstrip(), "", "keys [default]:"]
    for name, key in keys.items():
        default = "null" if key.default is None else key.default
        shown = f" ({'|'.join(key.choices)})" if key.choices else ""
        lines.append(f"  {name:14} {key.comment}{shown} [{default}]")
    lines += ["", "Exit status: 0 done, 2 a mistake in the command or the data, 130 interrupted."]
    return "\n".join(lines)


def run_plain(
    argv: list[str] | None,
    head: str,
    keys: Mapping[str, Key],
    work: Callable[[dict[str, Any]], list[str]],
    *,
    wants_words: bool = True,
) -> int:
    """Runs a plain command and returns the exit status: 0, 2 user's mistake, 130 interrupted.

    Args:
        argv: The words; None takes those of the process.
        head: What ``--help`` says above the keys.
        keys: The keys that the command knows.
        work: Does the work on the values of all keys; returns the lines to print at the end.
        wants_words: Whether the command alone, without any word, is a mistake.
    """
    argv = sys.argv[1:] if argv is None else argv
    if (wants_words and not argv) or "--help" in argv or "-h" in argv:
        print(help_text(head, keys))
        return 0 if argv else 2

    def run() -> int:
        print("\n".join(work(read_words(argv, keys))), flush=True)
        return 0

    return guarded(run)
