"""Lengths of latent positions, and the order in which their symbols are sent.

Each position gets the length at which the cost of its expected error and the price of its symbols are least together,
as sender and receiver both can compute it; one price for the whole picture keeps the budget (Lagrangian bit allocation,
Shoham and Gersho 1988).  LRISC (Yin et al. 2025) has Q(−η log p) instead.
"""

import torch
from torch import Tensor

from common.channel.state import LENGTHS, MAX_LENGTH

_BISECTIONS = 40
_PRICES = (1e-12, 1e2)


def allocated_lengths(costs: Tensor, mean_length: Tensor) -> Tensor:
    """Lengths (B, H, W) of least cost, of which each picture's mean is at most as wanted.

    Args:
        costs: (B, len(LENGTHS), H, W) of each position at each length.
        mean_length: (B,) complex symbols per position; the smallest of `LENGTHS` is used where it is smaller.
    """
    # In whole symbols: a budget that is used up exactly must not be lost by rounding.
    most = mean_length.double() * (costs.shape[2] * costs.shape[3]) + 0.01
    low, high = (costs.new_full((len(costs),), price) for price in _PRICES)
    for _ in range(_BISECTIONS):
        middle = (low * high).sqrt()
        fits = _priced_lengths(costs, middle).sum((1, 2)) <= most
        low, high = torch.where(fits, low, middle), torch.where(fits, middle, high)
    return _priced_lengths(costs, high)


def _priced_lengths(costs: Tensor, price: Tensor) -> Tensor:
    """(B, H, W) of `LENGTHS`, where cost and price (B,) of the symbols are least together."""
    sizes = torch.tensor(LENGTHS, device=costs.device)
    best = (costs + price[:, None, None, None] * sizes[:, None, None]).argmin(1)
    return sizes[best]


def length_mask(lengths: Tensor) -> Tensor:
    """(…, MAX_LENGTH) whether a symbol is within its position's length."""
    return torch.arange(MAX_LENGTH, device=lengths.device) < lengths[..., None]


def position_order(count: int) -> Tensor:
    """(count,) fixed random order in which positions are sent, so that a fade hits scattered ones."""
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
