"""Which dictionary entries represent an image: selections over tokens, without loops.

All take tokens (B, N, C) and a codebook (K, C), work for any batch size without a host
synchronisation, and give what a loop over tokens would. All of it exports to ONNX. Where distances
are equal the first token and the first entry count, on every device and in ONNX: hence stable
sorts, where a topk may choose as it likes.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from osdface.networks.quantizer import squared_distances


def _ranked(distance: Tensor, nearest: Tensor, entries: int, count: int) -> tuple[Tensor, ...]:
    """Returns the smallest distance to each entry, the entries in that order, which are unused."""
    best = torch.full(
        (distance.shape[0], entries), torch.inf, dtype=distance.dtype, device=distance.device
    ).scatter_reduce(1, nearest, distance, "amin")
    value, order = best.sort(dim=1, stable=True)
    return best, order[:, :count], value[:, :count].isinf()


def _rows(codebook: Tensor, order: Tensor, unused: Tensor, count: int) -> Tensor:
    rows = codebook[order].masked_fill(unused.unsqueeze(-1), 0)
    return pad(rows, (0, 0, 0, count - rows.shape[1]))


def select_entries(tokens: Tensor, codebook: Tensor, count: int = 77) -> Tensor:
    """Selects the ``count`` distinct entries nearest to any token (released code, R).

    Entries are ordered by the smallest squared distance of any token to them; rows beyond the
    number of distinct entries are zero.

    Args:
        tokens: (B, N, C).
        codebook: (K, C).
        count: Rows of the prompt; 77 in the paper.

    Returns:
        (B, count, C).
    """
    distance, nearest = squared_distances(tokens, codebook).min(-1)
    _, order, unused = _ranked(distance, nearest, codebook.shape[0], count)
    return _rows(codebook, order, unused, count)


def select_with_positions(
    tokens: Tensor, codebook: Tensor, count: int = 77
) -> tuple[Tensor, Tensor]:
    """Selects as :func:`select_entries` does and tells where each entry was seen best.

    Returns:
        The rows (B, count, C), and the number of the token whose distance to the entry is the
        smallest (B, count), int64: the first one of several, -1 for zero rows.
    """
    distance, nearest = squared_distances(tokens, codebook).min(-1)
    entries, (batch, number) = codebook.shape[0], distance.shape
    best, order, unused = _ranked(distance, nearest, entries, count)
    # Numbers of tokens as floats, exact to 2**24: MPS and ONNX runtimes scatter no int64.
    token = torch.arange(number, device=tokens.device, dtype=distance.dtype).expand(batch, -1)
    token = token.masked_fill(distance > best.gather(1, nearest), number)
    first = torch.full_like(best, number).scatter_reduce(1, nearest, token, "amin")
    position = first.gather(1, order).masked_fill(unused, -1).long()
    position = pad(position, (0, count - position.shape[1]), value=-1)
    return _rows(codebook, order, unused, count), position


def select_with_duplicates(tokens: Tensor, codebook: Tensor, count: int = 154) -> Tensor:
    """Selects the nearest entries of the ``count`` tokens closest to theirs (released code, R).

    One row a token, so an entry may stand in several; zero rows where tokens are fewer.

    Returns:
        (B, count, C), by increasing distance.
    """
    distance, nearest = squared_distances(tokens, codebook).min(-1)
    order = distance.sort(dim=1, stable=True).indices[:, :count]
    rows = codebook[nearest.gather(1, order)]
    return pad(rows, (0, 0, 0, count - rows.shape[1]))


def nearest_entries(tokens: Tensor, codebook: Tensor) -> Tensor:
    """Replaces every token by its nearest entry: (B, N, C)."""
    return codebook[squared_distances(tokens, codebook).argmin(-1)]


def position_code(height: int, width: int, dim: int, like: Tensor) -> Tensor:
    """Returns the 2-D sinusoidal code of a token grid, row by row.

    The first half of the channels tells the row, the second the column, each by sines and then
    cosines of geometrically falling frequencies (R names the code; this layout is ours, O).

    Args:
        height: Rows of the grid.
        width: Columns of the grid.
        dim: Channels, a multiple of four.
        like: Its dtype and device are taken.

    Returns:
        (height * width, dim), in [-1, 1].
    """
    quarter = dim // 4
    options: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
    frequency = 10000 ** (-torch.arange(quarter, **options) / quarter)

    def code(places: int) -> Tensor:
        angle = torch.arange(places, **options).unsqueeze(1) * frequency
        return torch.cat([angle.sin(), angle.cos()], 1)

    rows = code(height).unsqueeze(1).expand(-1, width, -1)
    columns = code(width).unsqueeze(0).expand(height, -1, -1)
    return torch.cat([rows, columns], -1).flatten(0, 1)
