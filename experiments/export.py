"""Exports a restorer: ``python -m experiments.export checkpoint=... format=... output=...``."""

import sys
from typing import Any

from experiments.cli.plain import REQUIRED, Key, run_plain

KEYS = {
    "checkpoint": Key(
        REQUIRED,
        "export folder of experiment=osdface, its .ckpt, the released files' folder, OSEDiff's "
        ".pkl, or tiny",
    ),
    "format": Key(
        REQUIRED,
        "what runs it: onnxruntime, torch alone, or Restorer and diffusers",
        ("onnx", "torch_export", "safetensors"),
    ),
    "output": Key(REQUIRED, "folder of the export; made"),
    "base": Key(None, "base in diffusers' layout; null: that of the training"),
    "vre": Key(None, "of a .ckpt without its run's export beside it: the stage-1 export"),
    "weights_dir": Key(None, "where a base is looked for; null: $OSDFACE_WEIGHTS"),
    "overwrite": Key(False, "replace an export that is there"),
}
HEAD = """\
usage: python -m experiments.export checkpoint=PATH|tiny format=FORMAT output=FOLDER

Writes the whole one-step pipeline, LoRA merged, with a model card, README.md. It is then loaded
again and compared with the restorer it came from; what differs is not kept. Needs no GPU, and
memory for the model two or three times (4 GB each at the paper's size). onnx: extra [export]."""


def work(values: dict[str, Any]) -> list[str]:
    """Exports; returns the closing lines."""
    from experiments.exporting.main import export

    return export(values)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    return run_plain(argv, HEAD, KEYS, work)


if __name__ == "__main__":
    sys.exit(main())
