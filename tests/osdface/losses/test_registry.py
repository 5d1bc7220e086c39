"""Losses by name and their weighted sum."""

import pytest
import torch

from osdface.errors import UserError
from osdface.losses import LOSS_NAMES, WeightedLosses, build_loss


def test_every_name_builds_a_loss_that_says_what_it_is(trunk, encoder, pair):
    values = {}
    for name in LOSS_NAMES:
        loss = build_loss(name, trunk, encoder).double()
        values[name] = float(loss(*pair))
        assert loss(pair[0], pair[0].clone()) == 0
        assert loss.name == name and loss.specification()
        assert ("(stand-in)" in loss.specification()) == (name not in ("mse", "l1"))
    assert len(set(values.values())) == len(LOSS_NAMES) and min(values.values()) > 0


@pytest.mark.parametrize(
    ("name", "words"),
    [("ea_dist", "are ea_dists"), ("dists", "needs trunk="), ("identity", "needs identity=")],
)
def test_mistakes_are_user_errors(name, words):
    with pytest.raises(UserError, match=words):
        build_loss(name)


def test_weighted_losses_drop_zero_weights(encoder, pair):
    losses = WeightedLosses({"mse": 2, "ea_dists": 0.0, "identity": 0.5}, identity=encoder)
    terms = losses(*pair)  # ea_dists would have needed a trunk
    assert list(terms) == ["mse", "identity"]
    wanted = 2 * ((pair[0] - pair[1]) ** 2).mean() + 0.5 * build_loss("identity", None, encoder)(
        *pair
    )
    torch.testing.assert_close(losses.total(terms), wanted)
    assert losses.weights == {"mse": 2.0, "identity": 0.5}


def test_no_loss_at_all_is_a_user_error(pair):
    losses = WeightedLosses({"mse": 0})
    with pytest.raises(UserError, match="All loss weights are 0"):
        losses.total(losses(*pair))
