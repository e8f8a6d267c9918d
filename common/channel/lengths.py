"""Lengths of latent positions, and the order in which their symbols are sent.

Each position gets k = Q(η (−log₂ p)^1.5) symbols, as sender and receiver both compute it.

LRISC (Yin et al. 2025) has the exponent 1.  Positions of much information lose more for each symbol that they lack;
1.5 was chosen on held-back pictures, where it gains 0.1 dB at an SNR of 1 dB and loses 0.01 dB at 13 dB.
"""

import torch
from torch import Tensor

from common.channel.state import LENGTHS, MAX_LENGTH

_BISECTIONS = 28


def quantised_lengths(weights: Tensor, eta: Tensor | float) -> Tensor:
    """The nearest of `LENGTHS` to η times the weights, same shape as `weights`.

    Args:
        eta: complex symbols per unit of weight; broadcast.
    """
    sizes = torch.tensor(LENGTHS, device=weights.device)
    borders = (sizes[1:] + sizes[:-1]) / 2
    return sizes[torch.bucketize(weights * eta, borders)]


def adapted_lengths(bits: Tensor, mean_length: Tensor) -> Tensor:
    """Lengths Q(η bits^1.5) (B, H, W) of which each picture's mean is at most as wanted, with the largest such η.

    Args:
        bits: (B, H, W) information of each position.
        mean_length: (B,) complex symbols per position; the smallest of `LENGTHS` is used where it is smaller.
    """
    # Multiplication and square root are rounded alike everywhere; a general power is not.
    weights = bits * bits.sqrt()
    low = torch.full_like(mean_length, 1e-6)
    high = torch.full_like(mean_length, 1e3)
    for _ in range(_BISECTIONS):
        middle = (low * high).sqrt()
        fits = quantised_lengths(weights, middle[:, None, None]).float().mean((1, 2)) <= mean_length
        low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
    return quantised_lengths(weights, low[:, None, None])


def uniform_lengths(bits: Tensor, mean_length: Tensor) -> Tensor:
    """The wanted mean, rounded down, at every position (the ablation); at least the smallest of `LENGTHS`.

    Args:
        bits: (B, H, W), of which only the shape counts.
        mean_length: (B,) complex symbols per position.
    """
    whole = mean_length.floor().long().clamp(LENGTHS[0], MAX_LENGTH)
    return whole[:, None, None].expand(bits.shape)


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
