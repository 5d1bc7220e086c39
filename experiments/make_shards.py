"""Makes WebDataset shards: ``python -m experiments.make_shards source=DIR output=DIR``."""

import os
import sys
from pathlib import Path
from typing import Any

from experiments.cli.plain import REQUIRED, Key, run_plain
from osdface.errors import UserError

KEYS = {
    "source": Key(REQUIRED, "folder of pictures; those in sub-folders count too"),
    "output": Key(REQUIRED, "folder of the shards; made if missing"),
    "resolution": Key(512, "side of the stored pictures in pixels; Lanczos, central square"),
    "shard_size": Key(1000, "pictures in a shard"),
    "format": Key("jpg", "how they are stored", ("jpg", "webp", "png")),
    "quality": Key(95, "of jpg and webp, 1 to 100"),
    "workers": Key(os.cpu_count() or 1, "processes"),
    "split.val": Key(0.02, "share held out for validation; 0: none"),
    "identity_from": Key(
        "none", "stem_prefix: hold out people, files are <person>_<number>", ("none", "stem_prefix")
    ),
    "pair_with": Key(None, "folder of retouched pictures of the same names, such as FFHQR"),
    "min_size": Key(0, "least length of a file's shorter side in pixels; 0: any"),
}
HEAD = """\
usage: python -m experiments.make_shards source=DIR output=DIR [key=value ...]

Writes train-000000.tar ... and val-000000.tar ..., an index beside each, manifest.json, and
report.csv with the files that were left out and why. Repeat the command to go on after an
interruption; the result is the same bytes. Then train with data=shards data.root=DIR or
data.urls='DIR/train-*.tar'."""


def work(values: dict[str, Any]) -> list[str]:
    """Makes the shards; returns the closing lines."""
    from experiments.data_tools.preparing import Encoding
    from experiments.data_tools.shard_making import REPORT, ShardSettings, make_shards

    for name, low, high in (
        ("resolution", 8, 8192), ("shard_size", 1, 10**6), ("quality", 1, 100),
        ("workers", 1, 1024), ("split.val", 0, 0.9), ("min_size", 0, 10**5),
    ):  # fmt: skip
        if not low <= values[name] <= high:
            raise UserError(f"{name}={values[name]} is wrong: give {low} to {high}.")
    output = Path(values["output"])
    settings = ShardSettings(
        Path(values["source"]),
        output,
        Encoding(*(values[name] for name in ("resolution", "format", "quality", "min_size"))),
        values["shard_size"],
        values["split.val"],
        values["identity_from"],
        Path(values["pair_with"]) if values["pair_with"] else None,
        values["workers"],
    )
    manifest = make_shards(settings)
    lines = []
    for split, own in manifest["splits"].items():
        size = f"{own['bytes'] / 2**20:.1f} MiB"
        lines.append(f"{split:6} {own['samples']} images, {len(own['shards'])} shards, {size}")
    return [*lines, f"left out {manifest['left_out']}: {output / REPORT}", str(output)]


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    return run_plain(argv, HEAD, KEYS, work)


if __name__ == "__main__":
    sys.exit(main())
