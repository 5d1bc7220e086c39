"""Turns trained weights from one layout into another: ``python -m experiments.convert``."""

import sys
from pathlib import Path
from typing import Any

from experiments.cli.plain import REQUIRED, Key, run_plain
from osdface.errors import UserError

KEYS = {
    "input": Key(
        REQUIRED, "three released files' folder, export folder, .ckpt, OSEDiff's .pkl, or tiny"
    ),
    "output": Key(REQUIRED, "folder that is made; it must not exist"),
    "to": Key(REQUIRED, "layout of the output: released or export"),
    "base": Key(None, "the base's folder or single file; to=export of released files needs it"),
    "dictionaries": Key(
        None, "to=released: stage-1 export whose decoders and HQ twin go into associate_2.ckpt too"
    ),
    "prompt": Key(
        None, "of OSEDiff's .pkl: safetensors file with prompt (rows, width), for all images"
    ),
    "text": Key(None, "of OSEDiff's .pkl: the same as words, for a base with a text encoder"),
    "vre": Key(None, "of a .ckpt without its run's export beside it: the stage-1 export"),
    "weights_dir": Key(None, "where a base is looked for that is no path"),
}
HEAD = """\
usage: python -m experiments.convert input=PATH output=DIR to=released|export [key=value ...]

The three released files are associate_2.ckpt, pytorch_lora_weights.safetensors and
embedding_change_weights.pth. OSEDiff's osediff.pkl or osediff_face.pkl becomes an export folder;
its prompt is then one for all images, by default the embedding of no words. The LoRA file of either
layout is what diffusers' StableDiffusionPipeline.load_lora_weights reads."""


def work(values: dict[str, Any]) -> list[str]:
    """Converts; returns the closing lines."""
    if values["to"] not in ("released", "export"):
        raise UserError(f"to={values['to']} is unknown: give released or export.")
    output = Path(values["output"]).absolute()
    if output.exists():
        raise UserError(f"output={output} is there already: name a new folder.")
    if values["to"] == "released" and values["base"]:
        raise UserError("base= belongs to to=export: the released files do not name their base.")
    if values["to"] == "export" and values["dictionaries"]:
        raise UserError("dictionaries= belongs to to=released: an export holds the VRE alone.")
    words = {name: values[name] for name in ("prompt", "text") if values[name] is not None}
    if words and Path(values["input"]).suffix != ".pkl":
        raise UserError(f"{min(words)}= belongs to OSEDiff's .pkl: others bring their prompt.")
    if len(words) == 2:
        raise UserError("Give either prompt= or text=, not both.")
    # Only now: torch and diffusers take seconds.
    from osdface.checkpoints.converting import write_export, write_released
    from osdface.checkpoints.opening import prompt_width, read_parts
    from osdface.networks.prompts import FixedPrompt
    from osdface.paths import find_weight

    parts = read_parts(values["input"], values["vre"])
    if "prompt" in words:
        # Only here: it imports the training.
        from experiments.pipelines.texts import read_prompt

        file = find_weight(words["prompt"], values["weights_dir"])
        source = FixedPrompt(read_prompt(file, prompt_width(parts.lora)))
        parts.prompt_source, parts.text = source, None
    parts.text = words.get("text", parts.text)
    notes: list[str] = []
    try:
        if values["to"] == "released":
            place = values["dictionaries"]
            whole = None if place is None else find_weight(place, values["weights_dir"])
            notes = write_released(parts, output, whole)
        else:
            write_export(parts, output, values["base"], values["weights_dir"])
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}.") from error
    return [*(f"note: {note}" for note in notes), str(output)]


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    return run_plain(argv, HEAD, KEYS, work)


if __name__ == "__main__":
    sys.exit(main())
