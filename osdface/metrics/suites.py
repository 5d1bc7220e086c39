"""The suites of the paper's tables: which figures, by which networks, and what they rest on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from osdface.errors import UserError
from osdface.files import sha256_file
from osdface.losses.dists import DISTS
from osdface.losses.lpips import LPIPS
from osdface.metrics.identity import IdentitySimilarity
from osdface.metrics.landmarks import LandmarkDistance
from osdface.metrics.niqe import PARAMETERS, Niqe
from osdface.metrics.per_image import PerImageMean
from osdface.metrics.pixel import PixelMetrics
from osdface.metrics.pyiqa_quality import FILES, Quality, find_quality
from osdface.metrics.similarity import PerceptualSimilarity
from osdface.metrics.specification import Specification, library
from osdface.metrics.suite_metrics import SuiteMetrics
from osdface.networks.features import FeatureNetwork, find_features, load_features
from osdface.networks.identity import find_identity, load_identity
from osdface.networks.landmarks import find_landmarks, load_landmarks
from osdface.networks.perceptual import find_trunk, load_trunk
from osdface.networks.trunk import PerceptualTrunk
from osdface.paths import find_weight

# Columns of the paper's tables 1 and 2 (per set), and what can be measured beside them.
SUITES = {
    "celeba_test": ("lpips", "dists", "musiq", "niqe", "deg", "lmd", "fid_ffhq", "fid_hq"),
    "real_world": ("clipiqa", "maniqa", "musiq", "niqe", "fid"),
}
MORE = {
    "celeba_test": ("psnr", "ssim", "clipiqa", "maniqa", "kid"),
    "real_world": ("kid",),
}
PAIRED = ("psnr", "ssim", "lpips", "dists", "deg", "lmd", "fid_hq")
OF_SETS = ("fid_ffhq", "fid_hq", "fid", "kid")
HIGHER = ("psnr", "ssim", "musiq", "clipiqa", "maniqa")
FFHQ_STATISTICS = "inception_FFHQ_512-f7b384ab.pth"


@dataclass(frozen=True)
class SuiteSettings:
    """Which networks measure.

    Attributes:
        perceptual: Trunk of LPIPS and DISTS (:func:`~osdface.networks.perceptual.load_trunk`).
        lpips: Trunk of LPIPS alone, such as "alex"; None takes ``perceptual``.
        identity: Network of Deg. (:func:`~osdface.networks.identity.load_identity`).
        landmarks: Network of LMD (:func:`~osdface.networks.landmarks.load_landmarks`).
        features: Network of FID and KID (:func:`~osdface.networks.features.load_features`).
        weights_dir: Where their files are.
    """

    perceptual: str = "vgg16"
    lpips: str | None = None
    identity: str = "arcface_resnet18"
    landmarks: str = "awing_fan"
    features: str = "inception"
    weights_dir: str | None = None


def chosen(suite: str, names: Sequence[str] | None = None) -> tuple[str, ...]:
    """Returns the columns of a suite, or those of ``names``, each once.

    Raises:
        UserError: There is no such suite or column.
    """
    if suite not in SUITES:
        raise UserError(f"There is no suite {suite!r}: {' or '.join(SUITES)}.")
    if names is None:
        return SUITES[suite]
    known = (*SUITES[suite], *MORE[suite])
    for name in names:
        if name not in known:
            raise UserError(f"suite={suite} has no metric {name!r}: {', '.join(known)}.")
    if not names:
        raise UserError(f"metrics= names none of {', '.join(known)}.")
    return tuple(dict.fromkeys(names))


def specifications(names: Sequence[str], settings: SuiteSettings) -> dict[str, Specification]:
    """Returns what every column rests on, without loading a network.

    Raises:
        UserError: A weight file is missing; the sentence has its row of the registry.
    """
    return {name: _SPECIFIED[name](name, settings) for name in names}


def build_suite(names: Sequence[str], settings: SuiteSettings) -> SuiteMetrics:
    """Returns the per-image figures among ``names``; those of whole sets are left out.

    Raises:
        UserError: A weight file or a library is missing.
    """
    names = [name for name in names if name not in OF_SETS]
    parts: list[PerImageMean] = []
    if {"psnr", "ssim"} & set(names):
        parts.append(PixelMetrics())
    if {"lpips", "dists"} & set(names):
        parts.append(_similarity(names, settings))
    if "deg" in names:
        parts.append(IdentitySimilarity(load_identity(settings.identity, settings.weights_dir)))
    if "lmd" in names:
        parts.append(LandmarkDistance(load_landmarks(settings.landmarks, settings.weights_dir)))
    if "niqe" in names:
        parts.append(Niqe(find_weight(PARAMETERS, settings.weights_dir)))
    parts += [Quality(name, settings.weights_dir) for name in FILES if name in names]
    columns = {name: "identity_angle" if name == "deg" else name for name in names}
    return SuiteMetrics(parts, columns, specifications(names, settings))


def build_features(names: Sequence[str], settings: SuiteSettings) -> FeatureNetwork | None:
    """Returns the network of FID and KID, None where neither is among ``names``."""
    if not set(names) & set(OF_SETS):
        return None
    return load_features(settings.features, settings.weights_dir)


@cache
def _trunk(spec: str, weights_dir: str | None, pooling: str) -> PerceptualTrunk:
    """Read once: files of half a gigabyte serve a specification and several methods."""
    return load_trunk(spec, weights_dir, pooling)


@cache
def _digest(path: Path, changed: int) -> str:
    return sha256_file(path)


def _sha256(path: Path) -> str:
    return _digest(path, path.stat().st_mtime_ns)


def _similarity(names: Sequence[str], settings: SuiteSettings) -> PerceptualSimilarity:
    lpips = dists = None
    if "lpips" in names:
        trunk = settings.lpips or settings.perceptual
        lpips = LPIPS(_trunk(trunk, settings.weights_dir, "max"))
    if "dists" in names:
        dists = DISTS(_trunk(settings.perceptual, settings.weights_dir, "l2"))
    return PerceptualSimilarity(lpips, dists, settings.lpips in (None, settings.perceptual))


def _pixels(name: str, settings: SuiteSettings) -> Specification:
    if name == "psnr":
        return Specification("PSNR in dB, mean over images, at most 100")
    return Specification("SSIM, Gaussian window, sigma 1.5", library=library("torchmetrics"))


def _perceptual(name: str, settings: SuiteSettings) -> Specification:
    spec = (name == "lpips" and settings.lpips) or settings.perceptual
    trunk = _trunk(spec, settings.weights_dir, "max" if name == "lpips" else "l2")
    digest = _sha256(find_trunk(spec, settings.weights_dir))
    tuned = hasattr(trunk, "taps")  # VGG16 and AlexNet have released weights of their channels
    heads = {"lpips": "heads 0.1 of lpips", "dists": "alpha and beta of torchmetrics' copy"}
    found = Specification(
        name.upper(), trunk.name, digest, heads[name] if tuned else "uniform weights",
        stand_in=trunk.is_stand_in, comparable=not trunk.is_stand_in,
    )  # fmt: skip
    package = "lpips" if name == "lpips" else "torchmetrics"
    return replace(found, library=f"osdface, {library(package)}") if tuned else found


def _identity(name: str, settings: SuiteSettings) -> Specification:
    spec = settings.identity
    digest = _sha256(find_identity(spec, settings.weights_dir))
    ours = spec == "arcface_resnet18"
    known = {
        "arcface_resnet18": ("gray in [-1, 1]", "128, bilinear"),
        "arcface_ir_se50": ("RGB in [-1, 1]", "112, bilinear, antialiased"),
    }
    colour, resizing = known.get(spec, ("RGB in [-1, 1]", "ArcFace's crop to 112"))
    what = "mean angle in degrees of embeddings"
    if not ours:
        what += " (the field's scripts take ArcFace's ResNet-18 on gray 128 px)"
    stand_in = load_identity(spec, settings.weights_dir).is_stand_in
    return Specification(
        what, spec, digest, "", colour, resizing, stand_in=stand_in, comparable=ours
    )


def _landmarks(name: str, settings: SuiteSettings) -> Specification:
    digest = _sha256(find_landmarks(settings.landmarks, settings.weights_dir))
    network = load_landmarks(settings.landmarks, settings.weights_dir)
    return Specification(
        "mean distance of landmarks in pixels at 512", network.name, digest, "", "RGB",
        network.resize, library("facexlib") if not network.is_stand_in else library("onnxruntime"),
        network.is_stand_in, not network.is_stand_in,
    )  # fmt: skip


def _niqe(name: str, settings: SuiteSettings) -> Specification:
    digest = _sha256(find_weight(PARAMETERS, settings.weights_dir))
    what = "NIQE, blocks of 96, published pristine parameters"
    return Specification(what, weights=digest, colour="BT.601 luma in [16, 235], rounded")


def _quality(name: str, settings: SuiteSettings) -> Specification:
    digest = _sha256(find_quality(name, settings.weights_dir))
    labels = {"musiq": "MUSIQ (KonIQ)", "maniqa": "MANIQA (KonIQ)", "clipiqa": "CLIP-IQA (RN50)"}
    return Specification(labels[name], name, digest, resize="pyiqa's", library=library("pyiqa"))


def _of_sets(name: str, settings: SuiteSettings) -> Specification:
    digest = _sha256(find_features(settings.features, settings.weights_dir))
    network = load_features(settings.features, settings.weights_dir)
    what = "KID, unbiased, 100 subsets of at most 1,000" if name == "kid" else "FID, float64"
    package = "torch-fidelity" if not network.is_stand_in else "torchmetrics"
    uses = f"osdface, {library(package)}" if not network.is_stand_in else "osdface"
    return Specification(
        what, network.name, digest, "", "RGB bytes" if not network.is_stand_in else "RGB in [0, 1]",
        network.resize, uses, network.is_stand_in, not network.is_stand_in,
    )  # fmt: skip


_SPECIFIED = {
    "psnr": _pixels, "ssim": _pixels, "lpips": _perceptual, "dists": _perceptual,
    "deg": _identity, "lmd": _landmarks, "niqe": _niqe,
    **dict.fromkeys(FILES, _quality), **dict.fromkeys(OF_SETS, _of_sets),
}  # fmt: skip
