"""Selections against loops over images and tokens, in float64."""

import math

import pytest
import torch
from torch import Tensor

from osdface.networks.selection import (
    nearest_entries,
    position_code,
    select_entries,
    select_with_duplicates,
    select_with_positions,
)

Ranked = list[tuple[float, int, int]]


def ranked_tokens(tokens: Tensor, codebook: Tensor) -> Ranked:
    """(distance, token, entry) of one image's tokens, by distance, the first token first."""
    found: Ranked = []
    for number, token in enumerate(tokens):
        distances = [float(((token - entry) ** 2).sum()) for entry in codebook]
        entry = min(range(len(codebook)), key=distances.__getitem__)
        found.append((distances[entry], number, entry))
    return sorted(found)


def padded(rows: list[Tensor], count: int, like: Tensor) -> Tensor:
    return torch.stack(rows[:count] + [torch.zeros_like(like)] * (count - len(rows)))


def distinct(ranked: Ranked) -> list[tuple[int, int]]:
    """(entry, token that is nearest to it), each entry once, in order."""
    seen: dict[int, int] = {}
    for _, token, entry in ranked:
        seen.setdefault(entry, token)
    return list(seen.items())


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    codebook = torch.randn(40, 8, generator=generator, dtype=torch.float64)
    tokens = torch.randn(3, 50, 8, generator=generator, dtype=torch.float64)
    tokens[1] = codebook[3] + 0.01 * tokens[1]  # one distinct entry only
    return tokens, codebook


@pytest.mark.parametrize("count", [5, 77])
def test_distinct_entries_and_their_positions(inputs, count) -> None:
    tokens, codebook = inputs
    rows, position = select_with_positions(tokens, codebook, count)
    for number, image in enumerate(tokens):
        expected = distinct(ranked_tokens(image, codebook))[:count]
        entries = [codebook[entry] for entry, _ in expected]
        torch.testing.assert_close(rows[number], padded(entries, count, codebook[0]))
        places = [token for _, token in expected] + [-1] * (count - len(expected))
        assert position[number].tolist() == places
    torch.testing.assert_close(select_entries(tokens, codebook, count), rows)


@pytest.mark.parametrize("count", [10, 50, 154])
def test_duplicates_are_kept_in_order_of_distance(inputs, count) -> None:
    tokens, codebook = inputs
    rows = select_with_duplicates(tokens, codebook, count)
    assert rows.shape == (3, count, 8)
    for number, image in enumerate(tokens):
        expected = [codebook[entry] for _, _, entry in ranked_tokens(image, codebook)]
        torch.testing.assert_close(rows[number], padded(expected, count, codebook[0]))


def test_nearest_entry_of_every_token(inputs) -> None:
    tokens, codebook = inputs
    found = nearest_entries(tokens, codebook)
    for image, entries in zip(tokens, found, strict=True):
        for _, token, entry in ranked_tokens(image, codebook):
            torch.testing.assert_close(entries[token], codebook[entry])


def test_of_equally_near_tokens_the_first_counts() -> None:
    codebook = 100 * torch.eye(6, dtype=torch.float64)  # whole numbers: distances are exact
    entry = torch.tensor([4, 2, 4, 0, 2, 2, 0, 5, 5, 5])
    tokens = codebook[entry] + (entry + 1.0).unsqueeze(1) * torch.eye(6)[entry]
    _, position = select_with_positions(tokens[None].double(), codebook, 5)
    assert position.tolist() == [[3, 1, 0, 7, -1]]


def test_position_code_is_the_formula() -> None:
    code = position_code(3, 5, 12, torch.zeros((), dtype=torch.float64))
    assert code.shape == (15, 12) and code.dtype == torch.float64
    for token in range(15):
        expected = []
        for place in divmod(token, 5):
            angles = [place / 10000 ** (i / 3) for i in range(3)]
            expected += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        torch.testing.assert_close(code[token], torch.tensor(expected, dtype=torch.float64))
    assert len({tuple(row) for row in code.tolist()}) == 15


def test_of_equally_near_entries_the_first_comes_first() -> None:
    """Each entry has one token at distance 4: whatever the device, they keep their order."""
    codebook = 100 * torch.eye(40, dtype=torch.float64)
    tokens = codebook.flip(0) + 2 * torch.eye(40, dtype=torch.float64).flip(0)
    rows = select_entries(tokens[None], codebook, 7)
    torch.testing.assert_close(rows, codebook[None, :7])
    rows = select_with_duplicates(tokens[None], codebook, 7)
    torch.testing.assert_close(rows, codebook.flip(0)[None, :7])
