"""Runs an experiment: ``python -m experiments.run experiment=NAME key=value ...`` (``--help``).

The configuration is in ``experiments/conf``; the way from the words to the run in
``experiments/cli/main.py``.
"""

import sys

from experiments.cli.guard import guarded
from experiments.cli.help import help_text
from experiments.cli.signals import Interrupted, watch


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit status.

    It is 0, 1 for a failure, 2 for a user's mistake, and 128 + its number after a signal.
    """
    argv = sys.argv[1:] if argv is None else argv
    if not argv or "--help" in argv or "-h" in argv:
        print(help_text())
        return 0 if argv else 2
    part = any(word.startswith("part=") for word in argv)
    with watch.installed():
        try:
            return guarded(lambda: _run(argv), tell_interruption=not part)
        except Interrupted as interruption:
            return watch.last_words(interruption, tell=not part)


def _run(argv: list[str]) -> int:
    watch.obey()
    # Only now: --help answers at once, and a signal while this is imported ends it in order.
    from experiments.cli.main import run

    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
