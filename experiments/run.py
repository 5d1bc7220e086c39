"""Runs an experiment: ``python -m experiments.run experiment=NAME key=value ...`` (``--help``).

The configuration is in ``experiments/conf``; the way from the words to the run in
``experiments/cli/main.py``.
"""

import sys

from experiments.cli.guard import guarded
from experiments.cli.help import help_text


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit status: 0, 1 failed, 2 user's mistake, 130."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or "--help" in argv or "-h" in argv:
        print(help_text())
        return 0 if argv else 2
    # Only now: --help answers at once.
    from experiments.cli.main import run

    part = any(word.startswith("part=") for word in argv)
    return guarded(lambda: run(argv), tell_interruption=not part)


if __name__ == "__main__":
    sys.exit(main())
