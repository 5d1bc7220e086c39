"""Where a base lies and how its parts are read: diffusers folders as people have them."""

import re
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from osdface.errors import UserError
from osdface.paths import find_weight

SINGLE_FILES = (".safetensors", ".ckpt")
_NAME = "diffusion_pytorch_model"
_HUB_NAME = re.compile(r"[\w-]+/[\w.-]+")
# NAME[.VARIANT][-00001-of-00002].SUFFIX, as diffusers writes and reads them.
_WEIGHTS = re.compile(rf"{_NAME}(?:\.(\w+))?(?:-\d+-of-\d+)?(?:\.(\w+))?\.(safetensors|bin)")


def find_base(name: str, weights_dir: str | Path | None = None) -> Path:
    """Returns the folder or single file of a base; nothing is ever downloaded.

    Args:
        name: ``shipped:NAME``, a path, a name below ``weights_dir``, or a hub name such as
            ``owner/model`` whose files are in the hub's local cache.
        weights_dir: Folder that is searched.

    Raises:
        UserError: It is nowhere.
    """
    if weights_dir is not None and not Path(name).exists() and (Path(weights_dir) / name).is_dir():
        return Path(weights_dir) / name
    try:
        return find_weight(name, weights_dir)
    except UserError:
        if Path(name).suffix in SINGLE_FILES or name.startswith("shipped:"):
            raise
    if not _HUB_NAME.fullmatch(name):
        raise UserError(f"The base {name} is not there: give the path of a folder or file.")
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise UserError(
            f"The base {name} is no path, and the hub's local cache does not hold it: download it "
            f"first (hf download {name}), or give the path of a folder or file."
        ) from error


def weight_variant(folder: Path) -> str | None:
    """Returns the variant of a part's weight files that is to be read; None for the plain ones.

    Plain files come before variants, ``fp16`` before other variants.

    Raises:
        UserError: The folder holds no weight file of diffusers.
    """
    found: set[str | None] = set()
    for path in folder.iterdir() if folder.is_dir() else ():
        if match := _WEIGHTS.fullmatch(path.name):
            found.add(match[1] or match[2])
    if not found:
        raise UserError(f"{folder} holds no weights ({_NAME}.safetensors or a variant of it).")
    if None in found:
        return None
    return "fp16" if "fp16" in found else min(each for each in found if each)


def load_part(
    model: type[UNet2DConditionModel] | type[AutoencoderKL] | type[AutoencoderTiny],
    folder: Path,
) -> Any:
    """Reads a part in float32: fp16 variants, shards, ``.bin`` files (tensors only) included.

    Raises:
        UserError: Weights are missing, broken, or of another architecture than config.json says.
    """
    variant = weight_variant(folder)
    try:
        part, report = model.from_pretrained(
            folder,
            local_files_only=True,
            torch_dtype=torch.float32,
            variant=variant,
            output_loading_info=True,
        )
    except Exception as error:  # whatever diffusers raises about files it cannot read
        line = " ".join(str(error).split())[:200]
        raise UserError(f"{folder} cannot be read ({line}).") from error
    # diffusers fills what is missing with random weights and only warns.
    missing = [*report["missing_keys"], *(str(each[0]) for each in report["mismatched_keys"])]
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} tensors are missing or of another size, first "
            f"{min(missing)!r}: config.json and weights are not of the same model."
        )
    return part
