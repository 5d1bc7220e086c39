"""FID and KID against closed forms, naive sums, torchmetrics and torch-fidelity."""

import math

import numpy as np
import pytest
import torch
from scipy import linalg
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import poly_mmd

from osdface.errors import UserError
from osdface.metrics.feature_statistics import FeatureStatistics, frechet_distance
from osdface.metrics.features import FeatureMoments, KernelDistance, squared_mmd


def drawn(count: int, dimension: int = 6, seed: int = 0, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dimension, dimension, generator=generator, dtype=torch.float64)
    return torch.randn(count, dimension, generator=generator, dtype=torch.float64) @ mixing + shift


def test_closed_form_of_gaussians() -> None:
    means = torch.tensor([[1.0, -2.0, 0.5], [0.0, 1.0, 0.5]], dtype=torch.float64)
    spreads = torch.tensor([[4.0, 0.25, 1.0], [1.0, 1.0, 9.0]], dtype=torch.float64)
    first, second = (
        FeatureStatistics(m, torch.diag(s), 10) for m, s in zip(means, spreads, strict=True)
    )
    wanted = 1 + 9 + sum((math.sqrt(a) - math.sqrt(b)) ** 2 for a, b in spreads.T.tolist())
    assert frechet_distance(first, second) == pytest.approx(wanted, rel=1e-12)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-12)


def test_against_the_matrix_root_and_torchmetrics() -> None:
    x, y = drawn(50), drawn(40, seed=1, shift=0.3)
    first, second = FeatureStatistics.of(x), FeatureStatistics.of(y)
    c1, c2 = np.cov(x.numpy().T), np.cov(y.numpy().T)
    root = linalg.sqrtm(c1 @ c2).real
    wanted = float((x.mean(0) - y.mean(0)).square().sum()) + np.trace(c1 + c2 - 2 * root)
    found = frechet_distance(first, second)
    assert found == pytest.approx(wanted, rel=1e-9)

    class Given(nn.Module):
        num_features = 6

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, 0, 0]

    theirs = FrechetInceptionDistance(feature=Given(), normalize=True).set_dtype(torch.float64)
    theirs.update(x[:, None, None], real=True)
    theirs.update(y[:, None, None], real=False)
    assert found == pytest.approx(float(theirs.compute()), rel=1e-4)


def test_against_torch_fidelity() -> None:
    module = pytest.importorskip("torch_fidelity.metric_fid", reason="torch-fidelity is absent")
    x, y = drawn(50), drawn(40, seed=1, shift=0.3)
    pairs = [module.fid_features_to_statistics(each) for each in (x, y)]
    theirs = module.fid_statistics_to_metric(*pairs, verbose=False)["frechet_inception_distance"]
    ours = frechet_distance(FeatureStatistics.of(x), FeatureStatistics.of(y))
    assert ours == pytest.approx(theirs, rel=1e-8)


def test_fewer_images_than_features() -> None:
    x, y = drawn(5, 40), drawn(7, 40, seed=1)
    found = frechet_distance(FeatureStatistics.of(x), FeatureStatistics.of(y))
    c1, c2 = np.cov(x.numpy().T), np.cov(y.numpy().T)
    values = np.linalg.eigvals(c1 @ c2)
    wanted = float((x.mean(0) - y.mean(0)).square().sum()) + np.trace(c1 + c2)
    wanted -= 2 * np.sqrt(np.clip(values.real, 0, None)).sum()
    assert found == pytest.approx(wanted, rel=1e-6)


def test_streaming_merging_and_files(tmp_path) -> None:
    features = drawn(30) * 3 + 100  # a mean far from 0
    whole = FeatureStatistics.of(features, "some network")
    metric = FeatureMoments(6, "some network")
    for part in features.split(7):
        metric.update(part)
    parts = [FeatureStatistics.of(each, "some network") for each in features.split(11)]
    merged = parts[0].merged(parts[1]).merged(parts[2])
    for found in (metric.compute(), merged):
        torch.testing.assert_close(found.mean, whole.mean, rtol=1e-12, atol=0)
        torch.testing.assert_close(found.covariance, whole.covariance, rtol=1e-8, atol=1e-8)
        assert found.count == 30
    merged.save(tmp_path / "s.safetensors")
    again = FeatureStatistics.load(tmp_path / "s.safetensors")
    assert torch.equal(again.covariance, merged.covariance)
    assert (again.count, again.network) == (30, "some network")
    mean, covariance = whole.mean.numpy(), whole.covariance.numpy()
    np.savez(tmp_path / "s.npz", mu=mean, sigma=covariance)
    torch.save({"name": "FFHQ", "size": 512, "mean": mean, "cov": covariance}, tmp_path / "s.pth")
    for name in ("s.npz", "s.pth"):
        foreign = FeatureStatistics.load(tmp_path / name)
        assert frechet_distance(foreign, whole) == pytest.approx(0, abs=1e-8)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_mistakes(tmp_path) -> None:
    one, other = FeatureStatistics.of(drawn(5), "a"), FeatureStatistics.of(drawn(5), "b")
    with pytest.raises(UserError, match="cannot be compared"):
        frechet_distance(one, other)
    with pytest.raises(UserError, match="at least two images"):
        FeatureMoments(3).compute()
    for name in ("x.npz", "x.pth", "x.safetensors"):
        (tmp_path / name).write_bytes(b"PK nothing")
        with pytest.raises(UserError, match="holds no statistics"):
            FeatureStatistics.load(tmp_path / name)
    with pytest.raises(UserError, match="There is no file"):
        FeatureStatistics.load(tmp_path / "none.npz")
    np.savez(tmp_path / "odd.npz", mu=np.zeros(3), sigma=np.zeros((2, 2)))
    with pytest.raises(UserError, match="holds no statistics"):
        FeatureStatistics.load(tmp_path / "odd.npz")


def test_kernel_distance_pair_by_pair() -> None:
    x, y = drawn(7), drawn(9, seed=1, shift=0.2)

    def kernel(a: torch.Tensor, b: torch.Tensor) -> float:
        return (float(a @ b) / 6 + 1) ** 3

    within = [
        sum(kernel(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j)
        / (len(s) * (len(s) - 1))
        for s in (x, y)
    ]
    across = sum(kernel(a, b) for a in x for b in y) / 63
    assert float(squared_mmd(x, y)) == pytest.approx(sum(within) - 2 * across, rel=1e-10)
    assert float(squared_mmd(x, y[:7])) == pytest.approx(float(poly_mmd(x, y[:7])), rel=1e-10)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_kernel_distance_does_not_depend_on_the_order() -> None:
    x, y = drawn(12), drawn(9, seed=1)
    figures = []
    for order in (torch.arange(12), torch.randperm(12)):
        metric = KernelDistance()
        for part in x[order].split(5):
            metric.update(part)
        metric.update(y, reference=True)
        figures.append(metric.compute())
    assert figures[0] == figures[1] and figures[0] != 0
    with pytest.raises(UserError, match="both sets"):
        KernelDistance().compute()
