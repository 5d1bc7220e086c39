"""One export: what is written, checked and described."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.exporting.card import CARD, model_card
from experiments.exporting.facts import Facts, gather
from experiments.exporting.parity import largest_difference
from osdface.checkpoints.folder import MERGED, MERGED_VERSION
from osdface.checkpoints.merged import BASE_FOLDER, save_merged
from osdface.deploy.graphs import (
    LARGEST_BATCH,
    check_packages,
    exported_program,
    open_onnx,
    open_torch_export,
    write_onnx,
    write_torch_export,
)
from osdface.errors import UserError
from osdface.files import atomic_folder, read_json, write_json
from osdface.paths import assets_dir
from osdface.restorer import Restorer
from osdface.run_folder import one_line

CONFIG = "config.json"
FILES = {"onnx": "restorer.onnx", "torch_export": "restorer.pt2"}
# Largest difference of a pixel in [-1, 1]. onnxruntime has other kernels, the others have the same.
TOLERANCES = {"onnx": 1e-3, "torch_export": 1e-4, "safetensors": 1e-4}
_OURS = {
    CONFIG, CARD, BASE_FOLDER, *FILES.values(), "restorer.onnx.data", "vre.safetensors",
    "prompt_convs.safetensors", "prompt.safetensors",
}  # fmt: skip


def export(values: dict[str, Any]) -> list[str]:
    """Writes the export that the command's values ask for; returns the closing lines.

    Raises:
        UserError: A package, the checkpoint or a part of it is missing, the output is there, or
            the written export does not give the same pictures.
    """
    kind, output = values["format"], Path(values["output"]).expanduser()
    if kind == "onnx":
        check_packages()
    _check_output(output, values["checkpoint"], values["overwrite"])
    places = {name: values[name] for name in ("base", "weights_dir", "vre")}
    restorer = Restorer.from_pretrained(values["checkpoint"], device="cpu", **places)
    facts = gather(values["checkpoint"], base=values["base"])
    print(f"writing {kind}, {restorer.resolution} px ...", flush=True)
    try:
        difference = _export(output, kind, restorer, facts, values["overwrite"])
    except OSError as error:
        raise UserError(f"output={output} cannot be written: {one_line(error)}.") from error
    size = sum(file.stat().st_size for file in output.rglob("*") if file.is_file())
    return [
        f"parity   {difference:.2g}, largest difference of a pixel in [-1, 1], batches 1, 2 and 5",
        f"written  {kind}, {size / 2**20:.1f} MiB, model card {CARD}",
        str(output.absolute()),
    ]


def _export(output: Path, kind: str, restorer: Restorer, facts: Facts, overwrite: bool) -> float:
    """Writes an export whole or not at all; returns the largest difference from the restorer."""
    with atomic_folder(output, replace=overwrite) as folder:
        run = _write(folder, kind, restorer, facts.own)
        difference = largest_difference(restorer, run)
        if not difference <= TOLERANCES[kind]:
            raise UserError(
                f"The export differs from the restorer by {difference:.2g} (at most "
                f"{TOLERANCES[kind]:g} is allowed), so nothing was written to {output}."
            )
        card = model_card(kind, restorer.resolution, facts, difference)
        (folder / CARD).write_text(card, encoding="utf-8")
    return difference


def _write(
    folder: Path, kind: str, restorer: Restorer, own: dict[str, Any]
) -> Callable[[Tensor], Tensor]:
    """Writes the files of a format, reads them again, and returns what they do with images."""
    if kind == "safetensors":
        save_merged(folder, restorer.generator, restorer.resolution, own)
        again = Restorer.from_pretrained(folder, device="cpu")
        return lambda images: torch.as_tensor(again.restore(images).images)
    program = exported_program(restorer.pipeline, restorer.resolution)
    file = folder / FILES[kind]
    config = {"format_version": MERGED_VERSION, "kind": kind, "resolution": restorer.resolution}
    if kind == "torch_export":
        config["largest_batch"] = LARGEST_BATCH
    write_json(folder / CONFIG, config | own)
    if kind == "onnx":
        write_onnx(program, file)
        return open_onnx(file)
    write_torch_export(program, file)
    return open_torch_export(file)


def _check_output(output: Path, checkpoint: str, overwrite: bool) -> None:
    """Refuses an output that would cost somebody a file."""
    if not output.exists() and not output.is_symlink():
        return
    if not output.is_dir() or output.is_symlink():
        raise UserError(f"output={output} is there and is no folder: name another one.")
    if not overwrite:
        raise UserError(f"output={output} is there: name another folder, or give overwrite=true.")
    source = assets_dir() if checkpoint == "tiny" else Path(checkpoint).expanduser()
    if source.resolve().is_relative_to(output.resolve()):
        raise UserError(f"output={output} holds the checkpoint itself: name another folder.")
    names = {path.name for path in output.iterdir()}
    if odd := sorted(names - _OURS):
        raise UserError(
            f"output={output} holds {odd[0]}, which no export wrote: name another folder."
        )
    try:
        kind = read_json(output / CONFIG)["kind"] if names else "onnx"
    except (OSError, ValueError, KeyError, TypeError):
        kind = None
    if kind not in (*FILES, MERGED):
        raise UserError(f"output={output} is no export of this command: name another folder.")
