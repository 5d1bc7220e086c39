"""Runs, times and scores the methods of the paper's tables: ``python -m experiments.benchmark``."""

import sys
from typing import Any

from experiments.baselines.options import HEAD, KEYS, PLAIN_KEYS, keys_for
from experiments.cli.guard import guarded
from experiments.cli.plain import help_text, read_words

__all__ = ["KEYS", "main"]


def work(values: dict[str, Any]) -> list[str]:
    """Runs the benchmark; returns the lines to print."""
    from experiments.baselines.main import work as benchmark  # only now: torch takes seconds

    return benchmark(values)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit status.

    0 done, also where a method failed, which is a row; 2 a mistake; 130 interrupted.
    """
    argv = sys.argv[1:] if argv is None else argv
    if not argv or "--help" in argv or "-h" in argv:
        print(help_text(HEAD, PLAIN_KEYS))
        return 0 if argv else 2

    def run() -> int:
        print("\n".join(work(read_words(argv, keys_for(argv)))), flush=True)
        return 0

    return guarded(run)


if __name__ == "__main__":
    sys.exit(main())
