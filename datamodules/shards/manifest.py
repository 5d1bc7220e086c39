"""What a folder's ``manifest.json`` says of its shards."""

import json
from pathlib import Path

from datamodules.shards.http_shard import fetch
from datamodules.shards.urls import is_remote
from datamodules.shards.writer import MANIFEST
from osdface.errors import UserError
from osdface.files import read_json


def manifest_checksums(folder: Path) -> dict[str, str]:
    """Returns shard name -> SHA-256 of the folder's manifest; empty without one."""
    try:
        splits = read_json(folder / MANIFEST)["splits"].values()
        return {shard["name"]: shard["sha256"] for split in splits for shard in split["shards"]}
    except (OSError, ValueError, KeyError):
        return {}


def split_urls(folder: str | Path, split: str) -> list[str]:
    """Returns the shards of a split that the manifest of a folder, or address, names, if any.

    Raises:
        UserError: The folder or its manifest is missing or broken.
    """
    try:
        if is_remote(folder):
            splits = json.loads(fetch(f"{str(folder).rstrip('/')}/{MANIFEST}"))["splits"]
        else:
            folder = Path(folder)
            if not folder.is_dir():
                raise UserError(f"The shard folder {folder} does not exist: correct data.root.")
            splits = read_json(folder / MANIFEST)["splits"]
        return [shard["name"] for shard in splits.get(split, {"shards": []})["shards"]]
    except OSError:
        raise UserError(f"{folder} holds no {MANIFEST}: give data.urls, such as '*.tar'.") from None
    except (ValueError, KeyError):
        raise UserError(f"{folder}/{MANIFEST} is broken: make the shards again.") from None
