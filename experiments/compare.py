"""Compares runs by what they left on disk: ``python -m experiments.compare group=NAME``."""

import sys
from typing import Any

from experiments.cli.plain import run_plain
from experiments.comparing.options import HEAD, KEYS


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit status: 0 done, 2 a mistake, 130 interrupted."""
    return run_plain(argv, HEAD, KEYS, _work)


def _work(values: dict[str, Any]) -> list[str]:
    from experiments.comparing.main import work  # only now: --help answers at once

    return work(values)


if __name__ == "__main__":
    sys.exit(main())
