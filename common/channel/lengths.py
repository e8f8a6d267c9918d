"""Lengths of latent positions, and the order in which their symbols are sent.

Each position gets the length at which the cost of its expected error and the price of its symbols are least together,
as sender and receiver both compute it; one price for the whole picture keeps the budget (Lagrangian bit allocation,
Shoham and Gersho 1988).  LRISC (Yin et al. 2025) has Q(−η log p) instead, which `tests.bench.channel` measures.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from common.channel.state import LENGTHS, MAX_LENGTH

_BISECTIONS = 40
_PRICES = (1e-12, 1e2)


def priced_lengths(costs: Tensor, price: Tensor) -> Tensor:
    """(B, H, W) of `LENGTHS`, where cost and price of the symbols are least together.

    Args:
        costs: (B, len(LENGTHS), H, W) of each position at each length.
        price: (B,) cost that one more symbol has to save.
    """
    sizes = torch.tensor(LENGTHS, device=costs.device)
    best = (costs + price[:, None, None, None] * sizes[:, None, None]).argmin(1)
    return sizes[best]


def allocated_lengths(costs: Tensor, mean_length: Tensor) -> Tensor:
    """Lengths (B, H, W) of least cost, of which each picture's mean is at most as wanted.

    Args:
        costs: as for `priced_lengths`.
        mean_length: (B,) complex symbols per position; the smallest of `LENGTHS` is used where it is smaller.
    """
    # In whole symbols: a budget that is used up exactly must not be lost by rounding.
    most = mean_length.double() * (costs.shape[2] * costs.shape[3]) + 0.01
    _, price = _border_prices(costs, lambda lengths: lengths.sum((1, 2)) <= most)
    return priced_lengths(costs, price)


def sufficient_lengths(costs: Tensor, most: Tensor) -> Tensor:
    """The fewest symbols (B, H, W) by which each picture's mean cost is at most `most` (B,), as far as any are enough.

    Args:
        costs: as for `priced_lengths`.
    """
    sizes = torch.tensor(LENGTHS, device=costs.device)

    def too_few(lengths: Tensor) -> Tensor:
        chosen = torch.searchsorted(sizes, lengths)
        return costs.gather(1, chosen[:, None]).mean((1, 2, 3)) > most

    price, _ = _border_prices(costs, too_few)
    return priced_lengths(costs, price)


def _border_prices(costs: Tensor, dear: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Two prices (B,) next to each other: the highest at which `dear` of the lengths is false, and the next.

    Args:
        dear: (B,) whether lengths (B, H, W) belong to a price above the border.
    """
    low, high = (costs.new_full((len(costs),), price) for price in _PRICES)
    for _ in range(_BISECTIONS):
        middle = (low * high).sqrt()
        above = dear(priced_lengths(costs, middle))
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return low, high


def uniform_lengths(costs: Tensor, mean_length: Tensor) -> Tensor:
    """The wanted mean, rounded down, at every position (the ablation); at least the smallest of `LENGTHS`.

    Args:
        costs: as for `priced_lengths`; only the shape counts.
        mean_length: (B,) complex symbols per position.
    """
    whole = mean_length.floor().long().clamp(LENGTHS[0], MAX_LENGTH)
    return whole[:, None, None].expand(len(costs), *costs.shape[-2:])


def length_mask(lengths: Tensor) -> Tensor:
    """(…, MAX_LENGTH) whether a symbol is within its position's length."""
    return torch.arange(MAX_LENGTH, device=lengths.device) < lengths[..., None]


def position_order(count: int) -> Tensor:
    """(count,) fixed random order in which positions are sent, so that a fade or a lost packet hits scattered ones."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))


def gathered(symbols: Tensor, lengths: Tensor) -> Tensor:
    """(n,) the symbols (1, H, W, MAX_LENGTH) within the lengths (1, H, W), in the order of sending."""
    order = position_order(lengths.numel())
    return symbols.reshape(-1, MAX_LENGTH)[order][length_mask(lengths.reshape(-1)[order])]


def scattered(values: Tensor, lengths: Tensor) -> Tensor:
    """(1, H, W, MAX_LENGTH) the inverse of `gathered`, zero beyond the lengths."""
    order = position_order(lengths.numel())
    sent = torch.zeros(len(order), MAX_LENGTH, dtype=values.dtype)
    sent[length_mask(lengths.reshape(-1)[order])] = values
    placed = torch.empty_like(sent)
    placed[order] = sent
    return placed.reshape(*lengths.shape, MAX_LENGTH)
