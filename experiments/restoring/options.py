"""The keys of the restoring command: defaults, types, sentences."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from experiments.cli.suggest import unknown
from experiments.cli.values import typed_value
from experiments.cli.words import parse_words
from osdface.errors import UserError

HELP = {
    "input": "a photo, a folder (its folders too), or a pattern such as 'photos/*.jpg'",
    "output": "folder of the restored pictures; never the inputs' own",
    "checkpoint": "export folder of experiment=osdface, its .ckpt, the released files' folder, or "
    "tiny (shipped; knows drawn portraits alone)",
    "base": "base in diffusers' layout; needed for the released files, else that of the training",
    "vre": "of a .ckpt without its run's export beside it: the stage-1 export",
    "weights_dir": "folder of downloaded weight files; default $OSDFACE_WEIGHTS",
    "aligned": "the inputs are aligned faces (FFHQ); otherwise faces are found in whole photos",
    "original_size": "aligned=true: results have the inputs' size, not the model's",
    "paste_back": "false: write each restored face alone, as NAME_00.png",
    "upscale": "enlarge the photo by this factor, 1 to 8, before faces are pasted in",
    "no_face": "photo without a face: copy it, or skip it",
    "confidence": "least confidence of a face, in (0, 1)",
    "side_by_side": "also write input and result in one picture, in the folder side_by_side",
    "batch_size": "faces at once",
    "device": "cuda, cuda:1, mps or cpu; default the first that is there",
    "devices": "processes that share the photos, one a GPU (device=cpu: on the CPU)",
    "dtype": "of the large networks: float32, bfloat16 or float16",
    "compile": "torch.compile for UNet and VAE; the first pictures then take minutes",
    "cuda_graphs": "CUDA graphs, captured once for every number of faces; CUDA alone",
    "progress": "a progress bar; without a terminal a line at every tenth",
}
_HEAD = """\
usage: python -m experiments.restore input=PHOTO|FOLDER|PATTERN output=FOLDER checkpoint=PATH|tiny

Restores faces in photographs: finds them, restores each, pastes it back. Results are PNG.

  python -m experiments.restore input=photos output=restored checkpoint=RUN/export weights_dir=DIR
  python -m experiments.restore input=faces output=restored checkpoint=tiny aligned=true

Repeating a command goes on where it stopped. Nothing is downloaded and no input is overwritten.
Exit status: 0 all done, 1 a picture failed, 2 a mistake in the command, 130 interrupted."""
_WHOLE_ONLY = ("paste_back", "upscale", "no_face", "confidence")
_CHOICES = {"no_face": ("copy", "skip"), "dtype": ("float32", "bfloat16", "float16")}


@dataclass(frozen=True)
class Options:
    """What a command asks for; :data:`HELP` explains each key."""

    input: str
    output: str
    checkpoint: str
    base: str | None = None
    vre: str | None = None
    weights_dir: str | None = None
    aligned: bool = False
    original_size: bool = False
    paste_back: bool = True
    upscale: float = 1.0
    no_face: str = "copy"
    confidence: float = 0.9
    side_by_side: bool = False
    batch_size: int = 8
    device: str | None = None
    devices: int = 1
    dtype: str = "float32"
    compile: bool = False
    cuda_graphs: bool = False
    progress: bool = True


REQUIRED = ("input", "output", "checkpoint")
_DEFAULTS: dict[str, Any] = {
    each.name: each.default for each in fields(Options) if each.name not in REQUIRED
}


def parse_options(argv: Iterable[str]) -> Options:
    """Reads plain ``key=value`` words.

    Raises:
        UserError: A key is unknown or missing, or a value of another type or range.
    """
    words = parse_words(argv)
    for key in words:
        if key not in HELP:
            raise unknown("key", key, HELP)
    missing = [key for key in REQUIRED if words.get(key, "null") == "null"]
    if missing:
        raise UserError(f"{missing[0]}= is missing: {HELP[missing[0]]}.")
    values = {key: typed_value(key, text, _DEFAULTS.get(key)) for key, text in words.items()}
    options = Options(**{k: v for k, v in values.items() if v is not None})
    _check(options, words)
    return options


def _check(options: Options, words: Mapping[str, str]) -> None:
    for key, known in _CHOICES.items():
        if getattr(options, key) not in known:
            raise unknown(key, getattr(options, key), known)
    if not 1 <= options.upscale <= 8:
        raise UserError(f"upscale={options.upscale:g} is wrong: from 1 to 8.")
    if not 0 < options.confidence < 1:
        raise UserError(f"confidence={options.confidence:g} is wrong: between 0 and 1.")
    for key in ("batch_size", "devices"):
        if getattr(options, key) < 1:
            raise UserError(f"{key}={getattr(options, key)} is wrong: at least 1.")
    if options.aligned and (odd := next((key for key in _WHOLE_ONLY if key in words), None)):
        raise UserError(f"{odd}= belongs to whole photos, not to aligned=true.")
    if options.original_size and not options.aligned:
        raise UserError("original_size= belongs to aligned=true; whole photos keep their size.")


def help_text() -> str:
    """Returns the explanation of the command and its keys."""
    lines = [_HEAD, "", "keys [default]:"]
    for key, line in HELP.items():
        text = "required" if key in REQUIRED else _written(_DEFAULTS[key])
        lines.append(f"  {key:14} {line} [{text}]")
    return "\n".join(lines)


def _written(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
