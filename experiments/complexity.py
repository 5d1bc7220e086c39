"""Counts parameters and multiply-accumulates: ``experiments.complexity [method=osediff]``."""

import sys
from typing import Any

from experiments.cli.plain import Key, run_plain
from osdface.errors import UserError

KEYS = {
    "method": Key(
        "osdface", "one-step method, a file in experiments/conf/method/, such as osediff"
    ),
    "scale": Key("tiny", "sizes, a file in experiments/conf/scale/: sd21 is the paper's"),
    "output_dir": Key(
        None,
        "folder of the three files; default outputs/complexity/SCALE, or SCALE_METHOD of another",
    ),
    "time": Key(
        "auto", "measure; auto: not at sd21's size on a CPU, a minute", ("auto", "true", "false")
    ),
    "device": Key(None, "where time is measured: cpu, cuda, mps; default the first that is there"),
    "dtype": Key("float32", "of UNet and VAE while timed", ("float32", "bfloat16", "float16")),
    "batch": Key(1, "images at once while timed; the figures are for one image"),
    "repeats": Key(3, "timed runs after one to warm up; their median counts"),
}
HEAD = """\
usage: python -m experiments.complexity [key=value ...]

Counts a restorer's parameters and multiply-accumulates (MACs) by part, with and without the
products inside attention, beside the paper's table. Weights are random: figures do not depend on
them. Writes complexity.json, complexity.csv and complexity.md."""
_LIMITS = {"batch": 1024, "repeats": 1000}


def work(values: dict[str, Any]) -> list[str]:
    """Counts, measures and writes; returns the closing lines."""
    for name, high in _LIMITS.items():
        if not 1 <= values[name] <= high:
            raise UserError(f"{name}={values[name]} is wrong: give 1 to {high}.")
    from experiments.counting.main import complexity

    return complexity(values)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    return run_plain(argv, HEAD, KEYS, work, wants_words=False)


if __name__ == "__main__":
    sys.exit(main())
