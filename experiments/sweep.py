"""Runs the trials of a sweep file: ``python -m experiments.sweep sweep=NAME count=N``.

``--help`` explains the keys; the way from the words to the trials is in
``experiments/sweeping/main.py``.
"""

import sys

from experiments.cli.guard import guarded


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit status: 0, 1 failed, 2 user's mistake, 130."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or "--help" in argv or "-h" in argv:
        from experiments.sweeping.options import help_page

        print(help_page())
        return 0 if argv else 2
    from experiments.sweeping.main import run

    return guarded(lambda: run(argv))


if __name__ == "__main__":
    sys.exit(main())
