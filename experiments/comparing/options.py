"""Keys of ``experiments.compare``; it imports nothing heavy, so that --help answers at once."""

from experiments.cli.plain import Key

HEAD = """\
usage: python -m experiments.compare group=NAME|runs=DIR,DIR [key=value ...]

Compares any runs of experiments.run by what they left on disk: a table with mean and standard
deviation over seeds, curves with bands, a grid of the same held-out faces, and what makes the runs
not comparable. Runs that are not finished are listed with how far they came.

  python -m experiments.compare group=lora-rank
  python -m experiments.compare runs=outputs/first,outputs/second/full
  python -m experiments.compare 'runs=outputs/rank_*' wandb=true

The folder of an ablation or a sweep stands for all runs in it. The last line printed is the output
folder."""

KEYS = {
    "group": Key(None, "W&B group of the runs (logger.group): a sweep's name, or an experiment's"),
    "root": Key("outputs", "folder below which a group's runs are looked for"),
    "runs": Key(None, "run folders in place of a group: DIR,DIR or a pattern such as 'DIR/*'"),
    "output_dir": Key(None, "default outputs/compare/GROUP, or outputs/compare/DATE_TIME"),
    "faces": Key(8, "faces in the picture grid at most"),
    "wandb": Key(False, "log tables and pictures as a W&B run of type compare, too"),
    "project": Key("osdface", "W&B project of that run"),
}
