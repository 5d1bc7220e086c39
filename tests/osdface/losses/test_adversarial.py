"""GAN losses against their definitions, and the adaptive weight."""

import math

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from osdface.losses.adversarial import Hinge, NonSaturating, adaptive_weight

REAL, FAKE = [0.5, -2.0, 3.0], [1.5, -0.25, -4.0]


def mean(values):
    return sum(values) / len(values)


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def test_non_saturating_is_cross_entropy():
    loss, real, fake = NonSaturating(), torch.tensor(REAL), torch.tensor(FAKE)
    wanted = mean([-math.log(sigmoid(v)) for v in FAKE])
    assert float(loss.generator(fake)) == pytest.approx(wanted, rel=1e-6)
    wanted = mean([-math.log(sigmoid(v)) for v in REAL])
    wanted = (wanted + mean([-math.log(1 - sigmoid(v)) for v in FAKE])) / 2
    assert float(loss.discriminator(real, fake)) == pytest.approx(wanted, rel=1e-6)
    assert loss.generator(torch.tensor([-200.0])) == 200  # no overflow


def test_hinge_is_its_definition():
    loss, real, fake = Hinge(), torch.tensor(REAL), torch.tensor(FAKE)
    assert float(loss.generator(fake)) == pytest.approx(-mean(FAKE), rel=1e-6)
    wanted = mean([max(0, 1 - v) for v in REAL]) + mean([max(0, 1 + v) for v in FAKE])
    assert float(loss.discriminator(real, fake)) == pytest.approx(wanted / 2, rel=1e-6)


@pytest.mark.parametrize("loss", [NonSaturating(), Hinge()])
def test_gradients(loss):
    real, fake = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (REAL, FAKE))
    assert gradcheck(loss.generator, fake) and gradcheck(loss.discriminator, (real, fake))
    loss.generator(fake).backward()
    assert (fake.grad < 0).all()  # the generator raises the logits


def test_adaptive_weight_is_the_ratio_of_gradient_norms():
    layer = nn.Linear(3, 2, bias=False)
    x = torch.tensor([[1.0, 2.0, 2.0]])
    # d(sum of outputs)/dW has two rows of x: norm 3 sqrt(2).
    rec, gan = 5 * layer(x).sum(), -layer(x)[:, 0].sum()
    weight = adaptive_weight(rec, gan, layer.weight, reduce=True)  # no process group: no effect
    assert float(weight) == pytest.approx(15 * math.sqrt(2) / (3 + 1e-4), rel=1e-6)
    assert not weight.requires_grad and layer.weight.grad is None
    (rec + weight * gan).backward()  # the graphs are still there
    flat = adaptive_weight(1e9 * layer(x).sum(), 0 * layer(x).sum(), layer.weight)
    assert flat == 1e4
