"""Measures restored images by the paper's figures: ``python -m experiments.evaluate``."""

import sys
from typing import Any

from experiments.cli.plain import run_plain
from experiments.evaluation.options import HEAD, KEYS


def work(values: dict[str, Any]) -> list[str]:
    """Measures; returns the lines to print."""
    from experiments.evaluation.main import work as evaluate  # only now: torch takes seconds

    return evaluate(values)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit status: 0 done, 2 a mistake, 130 interrupted."""
    return run_plain(argv, HEAD, KEYS, work)


if __name__ == "__main__":
    sys.exit(main())
