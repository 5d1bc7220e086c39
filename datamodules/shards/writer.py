"""Writes samples into WebDataset shards with a manifest."""

import json
from collections.abc import Iterable, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

import webdataset

from osdface.errors import UserError
from osdface.files import atomic_path, read_json, sha256_file, write_json

MANIFEST = "manifest.json"
RETOUCHED = "retouched"  # <key>.retouched.<suffix>: the other version of a sample's image
_SIGNATURES = ((b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpg"), (b"RIFF", "webp"))


def image_suffix(image: bytes) -> str:
    """Returns ``png``, ``jpg`` or ``webp`` for encoded bytes; others raise ValueError."""
    for signature, suffix in _SIGNATURES:
        if image.startswith(signature):
            return suffix
    raise ValueError("a shard holds PNG, JPEG or WebP images only")


def write_shards(
    samples: Iterable[tuple[str, bytes, Mapping[str, Any]]],
    output_dir: str | Path,
    split: str = "train",
    shard_size: int = 1000,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes ``<split>-000000.tar`` and following, then adds the split to ``manifest.json``.

    Each shard is written under a temporary name and renamed, and the manifest comes last: what the
    manifest names is whole. Repeating the call with the same samples gives the same bytes.

    Args:
        samples: Triples of a key (no dot or slash), an encoded image and JSON-able labels.
        output_dir: Folder of the shards; made if missing.
        split: "train" or "val".
        shard_size: Samples a shard.
        settings: What made the samples; kept in the manifest.

    Returns:
        The manifest: ``{"version": 1, "settings": ..., "splits": {split: {"samples": n, "bytes": n,
        "shards": [{"name": ..., "samples": n, "bytes": n, "sha256": ...}]}}}``.

    Raises:
        UserError: Bad key or shard size, or the folder cannot be written (full or read-only).
    """
    if shard_size < 1:
        raise UserError(f"shard_size is {shard_size}: give at least 1.")
    output_dir = Path(output_dir)
    shards: list[dict[str, Any]] = []
    try:
        iterator = iter(samples)
        sample = next(iterator, None)
        while sample is not None:
            first = chain([sample], islice(iterator, shard_size - 1))
            path = output_dir / f"{split}-{len(shards):06d}.tar"
            shards.append(write_shard(path, (members(*each) for each in first)))
            sample = next(iterator, None)
        return _add_to_manifest(output_dir, split, shards, dict(settings or {}))
    except OSError as error:
        raise UserError(f"Shards cannot be written to {output_dir}: {error.strerror}.") from error


def write_shard(path: Path, samples: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Writes one shard, whole or not at all, and returns its entry in a manifest.

    Args:
        path: The shard; its folder is made if missing.
        samples: What :func:`members` returns, for each sample.

    Returns:
        ``{"name": ..., "samples": n, "bytes": n, "sha256": ...}``.

    Raises:
        OSError: The shard cannot be written; nothing of it is left.
    """
    count = 0
    # Fixed time: the same samples give the same bytes.
    with (
        atomic_path(path) as temporary,
        open(temporary, "wb") as file,
        webdataset.TarWriter(file, mtime=0, encoder=False) as writer,
    ):
        for sample in samples:
            writer.write(sample)
            count += 1
    size = path.stat().st_size
    return {"name": path.name, "samples": count, "bytes": size, "sha256": sha256_file(path)}


def members(
    key: str, image: bytes, labels: Mapping[str, Any], retouched: bytes | None = None
) -> dict[str, Any]:
    """Returns a sample as WebDataset writes it; ``retouched`` goes beside the image.

    Raises:
        UserError: The key holds a dot or a slash, or is empty.
    """
    if not key or "." in key or "/" in key:  # WebDataset cuts a member's name at the first dot
        raise UserError(f"The sample key {key!r} is not usable: it may hold no dot and no slash.")
    sample: dict[str, Any] = {"__key__": key, image_suffix(image): image}
    if retouched is not None:
        sample[f"{RETOUCHED}.{image_suffix(retouched)}"] = retouched
    return sample | {"json": json.dumps(labels).encode()}


def _add_to_manifest(
    output_dir: Path, split: str, shards: list[dict[str, Any]], settings: dict[str, Any]
) -> dict[str, Any]:
    path = output_dir / MANIFEST
    splits: dict[str, Any] = read_json(path)["splits"] if path.exists() else {}
    splits[split] = {
        "samples": sum(shard["samples"] for shard in shards),
        "bytes": sum(shard["bytes"] for shard in shards),
        "shards": shards,
    }
    manifest = {"version": 1, "settings": settings, "splits": splits}
    write_json(path, manifest)
    return manifest
