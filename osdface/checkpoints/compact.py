"""A stage-2 export as small as it can be shipped: LoRA in float16, the VRE named, not copied."""

import shutil
from pathlib import Path

import torch

from osdface.checkpoints.export import (
    CONVS_FILE,
    LAYERS_FILE,
    LORA_FILE,
    PROMPT_FILE,
    REFERENCE_VERSION,
    VAE_LORA_FILE,
    VRE_FILE,
    load_tensors,
    load_vre,
    read_config,
)
from osdface.checkpoints.lora_file import save_lora
from osdface.errors import UserError
from osdface.files import atomic_folder, read_json, write_json


def compact_restorer(
    source: str | Path, target: str | Path, vre: str = "shipped:vre", made_by: str | None = None
) -> None:
    """Writes a compact copy of an export folder.

    Args:
        source: Export folder of stage 2 with a VRE.
        target: Folder that must not exist.
        vre: What :func:`osdface.paths.find_weight` finds as the same VRE.
        made_by: The command that trained it, for config.json.

    Raises:
        UserError: ``vre`` is another VRE than the export's.
    """
    source = Path(source)
    facts = read_json(source / "config.json")
    read_config(source, "osdface")
    with atomic_folder(target) as temporary:
        version = max(REFERENCE_VERSION, int(facts["format_version"]))
        changes = {"format_version": version, "vre": vre}
        changes |= {"made_by": made_by} if made_by else {}
        write_json(temporary / "config.json", facts | changes)
        own, named = load_tensors(source / VRE_FILE), load_vre(temporary).state_dict()
        if own.keys() != named.keys() or any(not torch.equal(own[k], named[k]) for k in own):
            raise UserError(f"{source} was trained with another VRE than {vre}.")
        lora = load_tensors(source / LORA_FILE)
        halves = {key: value.half() for key, value in lora.items()}
        save_lora(temporary / LORA_FILE, halves, facts["lora"])
        for name in (CONVS_FILE, PROMPT_FILE, VAE_LORA_FILE, LAYERS_FILE):
            if (source / name).is_file():
                shutil.copyfile(source / name, temporary / name)
