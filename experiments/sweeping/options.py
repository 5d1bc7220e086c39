"""Keys of ``experiments.sweep``; it imports nothing heavy, so that --help answers at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.cli.plain import REQUIRED, Key, help_text, read_words
from experiments.cli.words import parse_words, to_argv
from osdface.errors import UserError

HEAD = """\
usage: python -m experiments.sweep sweep=NAME|FILE [count=N] [key=value ...]

Runs the trials of a W&B sweep file: each one is a run of experiments.run in a folder of its own.
Grid and random trials need no account and no network; a Bayesian search is drawn by W&B's server.

  python -m experiments.sweep sweep=lora_rank
  python -m experiments.sweep sweep=losses method=random count=20 parallel=2 scale=small
  python -m experiments.sweep sweep=losses count=20 launcher=slurm slurm.partition=gpu

Every other word goes to the trials, as in `python -m experiments.run --help`. The same command goes
on: finished trials are kept, interrupted ones resumed, failed ones tried again; a larger count adds
trials. OUTPUT/summary.md ranks them; the last line printed is OUTPUT."""

METHODS = ("grid", "random", "bayes")
KEYS = {
    "sweep": Key(REQUIRED, "name in experiments/sweeps/, or a path of a file"),
    "count": Key(0, "how many trials; 0: the whole grid, or the file's run_cap"),
    "method": Key(
        None, "in place of the file's: random draws the trials of a Bayesian file here", METHODS
    ),
    "output_dir": Key(None, "folder of the sweep; default outputs/sweeps/NAME/DATE_TIME"),
    "resume": Key("auto", "the newest equal sweep goes on, or a new folder", ("auto", "never")),
    "parallel": Key(1, "trials at a time"),
    "gpus": Key(None, "CUDA devices that trials at a time share out, such as 0,1,2"),
    "stop_after": Key(3, "end after so many failed trials in a row; 0: never"),
    "draw_seed": Key(0, "of random values; the trials' own seed is the word seed="),
    "launcher": Key("local", "slurm: one job a trial, then one for the tables", ("local", "slurm")),
    "part": Key("all", "one step alone, for batch jobs", ("all", "gather", "agent", "again")),
}


def help_page() -> str:
    """Returns what ``--help`` prints."""
    from experiments.sweeping.definition import SWEEPS

    lines = [help_text(HEAD, KEYS).replace("0 done,", "0 done, 1 a trial failed,"), "", "sweep="]
    for path in sorted(SWEEPS.glob("*.yaml")):
        first = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        lines.append(f"  {path.stem:14} {first}")
    return "\n".join(lines)


@dataclass(frozen=True)
class Options:
    """The command's own keys, and the words that go to every trial."""

    values: Mapping[str, Any]
    further: Mapping[str, str]
    slurm: Mapping[str, str]

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    @property
    def gpus(self) -> list[str]:
        return [
            each.strip() for each in (self["gpus"] or "").strip("[]").split(",") if each.strip()
        ]


def read_options(argv: list[str]) -> Options:
    """Returns the options of a command line.

    Raises:
        UserError: A word is no ``key=value``, or a value makes no sense.
    """
    words = parse_words(argv)
    own = {key: text for key, text in words.items() if key in KEYS}
    slurm = {key: text for key, text in words.items() if key.startswith("slurm.")}
    further = {key: text for key, text in words.items() if key not in own and key not in slurm}
    values = read_words(to_argv(own), KEYS)
    for key, least in (("count", 0), ("parallel", 1), ("stop_after", 0), ("draw_seed", 0)):
        if values[key] < least:
            raise UserError(f"{key}={values[key]} is wrong: {key} must be at least {least}.")
    if slurm and values["launcher"] != "slurm":
        raise UserError(f"{next(iter(slurm))}= needs launcher=slurm.")
    return Options(values, further, slurm)
