"""Mean and covariance of an image set's features: saved, merged, compared (FID)."""

import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import dtypes
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from osdface.errors import UserError
from osdface.files import atomic_path

SUFFIXES = (".safetensors", ".npz", ".pth", ".pt")


@dataclass  # torchmetrics refuses frozen ones
class FeatureStatistics:
    """Float64 moments of features.

    Attributes:
        mean: (D,).
        covariance: (D, D), divided by count - 1.
        count: Number of images; 0 where a foreign file does not say it.
        network: By which network, with the SHA-256 of its weights; empty where unknown.
    """

    mean: Tensor
    covariance: Tensor
    count: int
    network: str = ""

    @classmethod
    def of(cls, features: Tensor, network: str = "") -> "FeatureStatistics":
        """Returns the moments of features (N, D), N at least 2."""
        features = features.double()
        return cls(features.mean(0), torch.cov(features.T), len(features), network)

    def merged(self, other: "FeatureStatistics") -> "FeatureStatistics":
        """Returns the moments of both sets together.

        Raises:
            UserError: They are of different networks, or a count is unknown.
        """
        self.check_like(other)
        if not (self.count and other.count):
            raise UserError("Statistics without a number of images cannot be merged.")
        count = self.count + other.count
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        scatter = self.covariance * (self.count - 1) + other.covariance * (other.count - 1)
        scatter = scatter + torch.outer(apart, apart) * (self.count * other.count / count)
        return FeatureStatistics(mean, scatter / (count - 1), count, self.network)

    def check_like(self, other: "FeatureStatistics") -> None:
        """Raises UserError if the other statistics are of another network."""
        differ = self.network and other.network and self.network != other.network
        if differ or self.mean.shape != other.mean.shape:
            raise UserError(
                f"Statistics of {self.network or 'an unnamed network'} ({len(self.mean)} features) "
                f"and of {other.network or 'an unnamed network'} ({len(other.mean)}) cannot be "
                "compared: make both with one network."
            )

    def save(self, path: str | Path) -> None:
        """Writes a ``.safetensors`` file atomically."""
        tensors = {"mean": self.mean.contiguous(), "covariance": self.covariance.contiguous()}
        facts = {"count": str(self.count), "network": self.network}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, facts)

    @classmethod
    def load(cls, path: str | Path) -> "FeatureStatistics":
        """Reads :meth:`save`'s file, a ``.npz`` with mu and sigma, or BasicSR's ``.pth``.

        Raises:
            UserError: It is missing, broken or something else.
        """
        path = Path(path)
        try:
            return _READERS[path.suffix](path)
        except FileNotFoundError:
            raise UserError(f"There is no file {path}.") from None
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError,
                SafetensorError, pickle.UnpicklingError, zipfile.BadZipFile) as error:  # fmt: skip
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise UserError(f"{path} holds no statistics of features ({reason}).") from error


def _checked(mean: Any, covariance: Any, count: int = 0, network: str = "") -> FeatureStatistics:
    mean, covariance = (torch.as_tensor(each, dtype=torch.float64) for each in (mean, covariance))
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise ValueError(f"mean {tuple(mean.shape)}, covariance {tuple(covariance.shape)}")
    return FeatureStatistics(mean, covariance, count, network)


def _safetensors(path: Path) -> FeatureStatistics:
    with safe_open(str(path), "pt") as file:
        facts = file.metadata() or {}
        mean, covariance = file.get_tensor("mean"), file.get_tensor("covariance")
    return _checked(mean, covariance, int(facts.get("count", 0)), facts.get("network", ""))


def _npz(path: Path) -> FeatureStatistics:
    with np.load(path, allow_pickle=False) as held:
        return _checked(held["mu"], held["sigma"])


def _pth(path: Path) -> FeatureStatistics:
    # BasicSR's files hold NumPy arrays; these names and no others may be called on reading.
    core = np.core if int(np.__version__.split(".")[0]) < 2 else np._core  # type: ignore[attr-defined]
    rebuild = core.multiarray._reconstruct  # type: ignore[attr-defined]
    allowed: list[Any] = [
        *((rebuild, f"numpy.{name}.multiarray._reconstruct") for name in ("core", "_core")),
        np.ndarray, np.dtype, dtypes.Float64DType, dtypes.Float32DType,
    ]  # fmt: skip
    with torch.serialization.safe_globals(allowed):
        held = torch.load(path, map_location="cpu", weights_only=True)
    return _checked(held["mean"], held["cov"])


_READERS = {".safetensors": _safetensors, ".npz": _npz, ".pth": _pth, ".pt": _pth}


def frechet_distance(first: FeatureStatistics, second: FeatureStatistics) -> float:
    """Returns |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) in float64; 0 for equal ones.

    The root's trace is the sum of the roots of the eigenvalues of C1^(1/2) C2 C1^(1/2), which is
    symmetric: with fewer images than features nothing becomes complex. Source: Heusel et al., 2017.

    Raises:
        UserError: The statistics are of different networks.
    """
    first.check_like(second)
    values, vectors = torch.linalg.eigh(first.covariance)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    inner = root @ second.covariance @ root
    between = torch.linalg.eigvalsh((inner + inner.T) / 2).clamp(min=0).sqrt().sum()
    spread = first.covariance.trace() + second.covariance.trace() - 2 * between
    return float((first.mean - second.mean).square().sum() + spread)
