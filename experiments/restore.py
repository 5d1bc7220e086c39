"""Restores photographs: ``python -m experiments.restore input=... output=... checkpoint=...``.

``--help`` explains the keys; the way from the words to the pictures is in
``experiments/restoring/main.py``.
"""

import sys

from osdface.errors import UserError


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit status: 0, 1 failed, 2 user's mistake, 130."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or "--help" in argv or "-h" in argv:
        from experiments.restoring.options import help_text

        print(help_text())
        return 0 if argv else 2
    from experiments.restoring.main import run

    try:
        return run(argv)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
