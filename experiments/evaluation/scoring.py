"""The seam between whoever has restored images and the metrics: two folders in, figures out.

``experiments.benchmark`` calls :func:`measures` once, before anything runs, and :func:`score` once
a method. To put other suites behind it keep these two signatures: columns are named as in the
paper's tables (``experiments/baselines/paper.py``), others are shown behind them. Today the suite
celeba_test has PSNR, SSIM, LPIPS, DISTS and Deg.; FID, LMD, MUSIQ, NIQE, CLIP-IQA and MANIQA, and
so the whole suite real_world, are not there and their cells stay empty.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from osdface.devices import default_device
from osdface.errors import UserError
from osdface.files import sha256_file
from osdface.losses import build_loss
from osdface.metrics import IdentitySimilarity, PixelMetrics
from osdface.metrics.per_image import PerImageMean
from osdface.metrics.perceptual import PerceptualDistance
from osdface.networks.identity import IdentityEncoder, find_identity, load_identity
from osdface.networks.perceptual import find_trunk, load_trunk
from osdface.networks.trunk import PerceptualTrunk
from osdface.picture_reading import PICTURE_SUFFIXES, read_picture

SUITES = ("celeba_test", "real_world")


@dataclass(frozen=True)
class ScoringSettings:
    """What scores.

    Attributes:
        perceptual: Trunk of LPIPS and DISTS (:func:`osdface.networks.perceptual.load_trunk`); None
            leaves both out.
        identity: Network of Deg. (:func:`osdface.networks.identity.load_identity`); None leaves it
            out.
        weights_dir: Where their files are.
        device: None takes the first that is there.
    """

    perceptual: str | None = "vgg16"
    identity: str | None = "arcface_ir_se50"
    weights_dir: str | None = None
    device: str | None = None


@dataclass(frozen=True)
class Measure:
    """What a column is.

    Attributes:
        text: How it is computed and on which weights.
        comparable: Whether it may be held against published figures.
    """

    text: str
    comparable: bool


def measures(suite: str, settings: ScoringSettings | None = None) -> dict[str, Measure]:
    """Returns what :func:`score` will give, column -> specification.

    Raises:
        UserError: There is no such suite, or a weight file is missing.
    """
    settings = settings or ScoringSettings()
    if suite not in SUITES:
        raise UserError(f"There is no suite {suite!r}: {' or '.join(SUITES)}.")
    if suite == "real_world":
        return {}
    metrics = _metrics(settings)
    pixels = metrics["psnr"].specification()  # type: ignore[attr-defined]
    found = {name: Measure(pixels[name], True) for name in ("psnr", "ssim")}
    if settings.perceptual:
        real = not _trunk(settings, "l2").is_stand_in
        digest = sha256_file(find_trunk(settings.perceptual, settings.weights_dir))[:12]
        for name in ("lpips", "dists"):
            text = metrics[name].specification()["perceptual"]  # type: ignore[attr-defined]
            found[name] = Measure(f"{text}, RGB in [0, 1], weights {digest}", real)
    if settings.identity:
        digest = sha256_file(find_identity(settings.identity, settings.weights_dir))[:12]
        text = metrics["deg"].specification()["identity_angle"]  # type: ignore[attr-defined]
        text += f", weights {digest}; the field's scripts take ResNet-18 ArcFace on gray 128 px"
        found["deg"] = Measure(text, False)
    return found


def score(
    restored_dir: str | Path,
    reference_dir: str | Path | None,
    suite: str,
    settings: ScoringSettings | None = None,
) -> dict[str, float]:
    """Returns the mean figures of a folder of restored images, column -> value.

    Args:
        restored_dir: Images, each of which is scored; paired with the references by stem.
        reference_dir: The originals, of the same sizes; None for a suite without.
        suite: One of :data:`SUITES`.
        settings: What scores.

    Raises:
        UserError: References are missing or of another size.
    """
    settings = settings or ScoringSettings()
    if suite == "real_world":
        return {}
    if reference_dir is None:
        raise UserError(f"suite={suite} needs reference=DIR, the originals.")
    restored, references = _by_stem(restored_dir), _by_stem(reference_dir)
    if missing := sorted(restored.keys() - references.keys()):
        raise UserError(f"{reference_dir} lacks {missing[0]}, which {restored_dir} holds.")
    metrics = _metrics(settings)
    for metric in metrics.values():
        metric.reset()
    device = _device(settings)
    with torch.inference_mode():
        for key in sorted(restored):
            pair = _read(restored[key], device), _read(references[key], device)
            if pair[0].shape != pair[1].shape:
                raise UserError(f"{restored[key]} and {references[key]} differ in size.")
            for metric in metrics.values():
                metric.update(*pair)
    return _columns({name: metric.compute() for name, metric in metrics.items()})


def _columns(computed: dict[str, dict[str, float]]) -> dict[str, float]:
    found = {name: computed["psnr"][name] for name in ("psnr", "ssim")}
    names = {"lpips": "perceptual", "dists": "perceptual", "deg": "identity_angle"}
    return found | {k: computed[k][inner] for k, inner in names.items() if k in computed}


def _device(settings: ScoringSettings) -> torch.device:
    """Where the networks are; UserError where there is no such device."""
    if settings.device is None:
        return default_device()
    try:
        device = torch.device(settings.device)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"There is no device {settings.device!r} on this machine.") from error
    return device


@cache
def _trunk(settings: ScoringSettings, pooling: str) -> PerceptualTrunk:
    assert settings.perceptual is not None
    return load_trunk(settings.perceptual, settings.weights_dir, pooling)


@cache
def _encoder(settings: ScoringSettings) -> IdentityEncoder:
    assert settings.identity is not None
    return load_identity(settings.identity, settings.weights_dir)


@cache
def _metrics(settings: ScoringSettings) -> dict[str, PerImageMean]:
    """Loaded once: the same networks score every method."""
    device = _device(settings)
    found: dict[str, PerImageMean] = {"psnr": PixelMetrics()}
    if settings.perceptual:
        for name, pooling in (("lpips", "max"), ("dists", "l2")):
            found[name] = PerceptualDistance(build_loss(name, trunk=_trunk(settings, pooling)))
    if settings.identity:
        found["deg"] = IdentitySimilarity(_encoder(settings))
    return {name: metric.to(device) for name, metric in found.items()}


def _by_stem(folder: str | Path) -> dict[str, Path]:
    files = sorted(Path(folder).expanduser().iterdir())
    return {path.stem: path for path in files if path.suffix.lower() in PICTURE_SUFFIXES}


def _read(path: Path, device: torch.device) -> Tensor:
    pixels = np.ascontiguousarray(read_picture(path).rgb_bytes().transpose(2, 0, 1))
    return torch.from_numpy(pixels)[None].to(device, torch.float32).div_(127.5).sub_(1)
