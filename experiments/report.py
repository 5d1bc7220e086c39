"""Writes a run's page again: ``python -m experiments.report run=FOLDER``.

The page is made in ``experiments/reporting/page``; every run writes it at its end by itself.
"""

import sys
from pathlib import Path
from typing import Any

from experiments.cli.plain import REQUIRED, Key, run_plain

HEAD = """\
usage: python -m experiments.report run=FOLDER

Writes FOLDER/report.html anew from what is on disk: of a finished, a failed or an interrupted run,
of an ablation or of one of its variants. The page needs no other file and no network."""

KEYS = {"run": Key(REQUIRED, "output_dir of a run or an ablation, or the folder of one variant")}


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit status; a single word without ``=`` is the folder."""
    argv = sys.argv[1:] if argv is None else argv
    if len(argv) == 1 and not argv[0].startswith("-") and "=" not in argv[0]:
        argv = [f"run={argv[0]}"]
    return run_plain(argv, HEAD, KEYS, _work)


def _work(values: dict[str, Any]) -> list[str]:
    from experiments.reporting.page import write_page  # only now: --help answers at once

    return [str(write_page(Path(values["run"]).absolute()))]


if __name__ == "__main__":
    sys.exit(main())
