import math

import pytest
import torch

from osdface.errors import UserError
from osdface.networks.autoencoder import VQConfig
from osdface.networks.quantizer import VectorQuantizer, codebook_health, squared_distances


def test_distances_equal_the_definition() -> None:
    tokens, codebook = torch.randn(7, 5).double(), torch.randn(4, 5).double()
    expected = (tokens[:, None] - codebook[None]).square().sum(-1)
    torch.testing.assert_close(squared_distances(tokens, codebook), expected)


def test_initial_codebook_is_uniform_within_one_over_its_size() -> None:
    codebook = VectorQuantizer(128, 16).codebook
    assert codebook.abs().max() <= 1 / 128
    assert abs(float(codebook.std()) - 1 / 128 / math.sqrt(3)) < 2e-4


def test_nearest_entry_and_straight_through_gradient() -> None:
    quantizer = VectorQuantizer(9, 3)
    tokens = torch.randn(2, 3, 2, 2, requires_grad=True)
    out = quantizer(tokens)
    for b in range(2):
        for y in range(2):
            for x in range(2):
                token = tokens[b, :, y, x]
                nearest = (quantizer.codebook - token).square().sum(1).argmin()
                assert out.indices[b, y, x] == nearest
                torch.testing.assert_close(out.entries[b, :, y, x], quantizer.codebook[nearest])
    weight = torch.randn_like(tokens)
    (out.straight_through * weight).sum().backward()
    torch.testing.assert_close(tokens.grad, weight)
    assert quantizer.codebook.grad is None


def test_restart_moves_only_dead_entries_onto_tokens() -> None:
    quantizer = VectorQuantizer(6, 2)
    used = torch.tensor([0, 2])
    for _ in range(3):
        quantizer.count_idle(used)
    before = quantizer.codebook.detach().clone()
    tokens = torch.randn(10, 2)
    restarted = quantizer.restart_dead(tokens, 3, torch.Generator().manual_seed(0))
    assert restarted == 4
    torch.testing.assert_close(quantizer.codebook[used], before[used])
    for entry in (1, 3, 4, 5):
        assert (tokens == quantizer.codebook[entry]).all(1).any()
    assert quantizer.restart_dead(tokens, 3, torch.Generator()) == 0


def test_health_of_a_known_histogram() -> None:
    health = codebook_health(torch.tensor([2.0, 2.0, 0.0, 0.0]))
    assert health["usage"] == 0.5 and health["dead_entries"] == 2
    assert math.isclose(health["perplexity"], 2.0) and math.isclose(health["entropy"], math.log(2))


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ({"norm_groups": 7}, "64 channels .* into 7 groups"),
        ({"entries": 0}, "above 0"),
        ({"channels": ()}, "above 0"),
    ],
)
def test_sizes_that_make_no_network_are_a_sentence(sizes, told) -> None:
    with pytest.raises(UserError, match=told):
        VQConfig(**sizes)
