"""A fixed test set: pictures, their degraded copies, and what was done to each."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from datamodules.records import BrokenSample
from experiments.data_tools.listing import Picture, list_pictures
from experiments.data_tools.preparing import encode, in_order, load_square
from osdface.degradation import Degradation, apply, build_degradation, rng_for, sample_parameters
from osdface.errors import UserError
from osdface.files import atomic_folder, read_json, sha256_file, write_json

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class TestSetSettings:
    """What is made; the fields are the keys of the command."""

    __test__ = False  # pytest takes the name for that of a test

    source: Path
    output: Path
    preset: str = "daefr_final"
    degradation: Mapping[str, Any] | None = None  # in place of the preset
    strength_scale: float = 1.0
    seed: int = 0
    resolution: int = 512
    workers: int = 1


@dataclass(frozen=True)
class _Made:
    """One pair as PNG bytes with its line of the manifest; ``reason`` where there is none."""

    high: bytes = b""
    low: bytes = b""
    entry: dict[str, Any] | None = None
    reason: str = ""


def make_test_set(settings: TestSetSettings, progress: bool = True) -> dict[str, Any]:
    """Writes ``hq/<key>.png``, ``lq/<key>.png`` and ``manifest.json``.

    The bytes depend on the pictures and settings alone, not on ``workers``. The folder appears when
    it is whole. One that is there is kept if it was made with the same settings of the same
    pictures and is unchanged.

    Returns:
        The manifest: ``settings``, ``images`` (key, source, parameters, SHA-256 of both files), in
        the order of the paths, and ``left_out`` (source, reason).

    Raises:
        UserError: No usable picture, unknown preset, another content in the folder, or it cannot
            be written.
    """
    chosen = settings.degradation or {"preset": settings.preset}
    degradation = build_degradation({"strength_scale": settings.strength_scale, **chosen})
    pictures, others = list_pictures(settings.source, without=settings.output)
    head = {
        "preset": chosen.get("preset"),
        "seed": settings.seed,
        "resolution": settings.resolution,
        "strength_scale": settings.strength_scale,
        "degradation": _plain(asdict(degradation)),
    }
    if settings.output.exists():
        return _check_same(settings.output, head, pictures)
    work = partial(_make, degradation=degradation, settings=settings)
    try:
        with atomic_folder(settings.output) as folder:
            made = in_order(work, pictures, settings.workers)
            shown = tqdm(made, "making a test set", len(pictures), disable=not progress)
            images, left_out = _write(folder, pictures, iter(shown))
            left_out += map(list, others)
            if not images:
                raise UserError(
                    f"None of the {len(pictures)} images below {settings.source} can be used, for "
                    f"example {left_out[0][0]} ({left_out[0][1]})."
                )
            manifest = {
                "version": 1, "settings": head, "count": len(images), "images": images,
                "left_out": sorted(left_out),
            }  # fmt: skip
            write_json(folder / MANIFEST, manifest)
            return manifest
    except OSError as error:
        raise UserError(
            f"The test set cannot be written to {settings.output} ({error.strerror}): make room or "
            "choose another output=."
        ) from error


def _write(
    folder: Path, pictures: list[Picture], made: Iterator[_Made]
) -> tuple[list[dict[str, Any]], list[list[str]]]:
    images, left_out = [], []
    for name in ("hq", "lq"):
        (folder / name).mkdir()
    for picture, pair in zip(pictures, made, strict=True):
        if pair.entry is None:
            left_out.append([_shown(picture), pair.reason])
            continue
        for name, data in (("hq", pair.high), ("lq", pair.low)):
            (folder / name / f"{picture.key}.png").write_bytes(data)
        images.append(pair.entry)
    return images, left_out


def _make(picture: Picture, degradation: Degradation, settings: TestSetSettings) -> _Made:
    try:
        high = load_square(picture.path, settings.resolution)
    except BrokenSample as error:
        return _Made(reason=str(error))
    # As osdface.degradation.degrade in epoch 0, with the parameters at hand.
    parameters = sample_parameters(
        degradation, rng_for(settings.seed, 0, picture.key, "parameters")
    )
    low = apply(high, parameters, rng_for(settings.seed, 0, picture.key, "noise"))
    pair = encode(high, "png"), encode(low, "png")
    entry = {
        "key": picture.key,
        "source": _shown(picture),
        "parameters": _plain(asdict(parameters)),
        "hq_sha256": hashlib.sha256(pair[0]).hexdigest(),
        "lq_sha256": hashlib.sha256(pair[1]).hexdigest(),
    }
    return _Made(*pair, entry)


def _check_same(output: Path, head: dict[str, Any], pictures: list[Picture]) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = read_json(output / MANIFEST)
        images = manifest["images"]
        made, found = {image["source"] for image in images}, set(map(_shown, pictures))
        known = made | {name for name, _ in manifest["left_out"]}
        if manifest["settings"] != head or not made <= found <= known:
            raise UserError(
                f"{output} holds a test set of other settings or pictures: choose another output=, "
                "or remove that folder."
            )
        for image in images:
            for name in ("hq", "lq"):
                path = output / name / f"{image['key']}.png"
                if sha256_file(path) != image[f"{name}_sha256"]:
                    raise UserError(f"{path} was changed: remove {output} and repeat the command.")
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{output} exists and is no whole test set: choose another output=."
        ) from None
    return manifest


def _shown(picture: Picture) -> str:
    """The path below the source folder; a name that is no UTF-8 is written with escapes."""
    return picture.source.encode("utf-8", "backslashreplace").decode()


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """As JSON has it; an order that is not there is left out."""
    found = {name: value for name, value in values.items() if name != "then" or value}
    for name, value in found.items():
        if isinstance(value, dict):
            found[name] = _plain(value)
        elif isinstance(value, tuple):
            found[name] = list(value)
    return found
