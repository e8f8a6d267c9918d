"""Adaptive length: each latent position gets k = Q(−η log₂ p) symbols, as sender and receiver both compute it."""

import torch
from torch import Tensor

LENGTHS = (4, 8, 12, 16, 24, 32, 40, 48, 56, 64, 72, 80, 96, 112, 128)
"""Complex symbols that a position may have."""
MAX_LENGTH = LENGTHS[-1]
_BISECTIONS = 24


def quantised_lengths(bits: Tensor, eta: Tensor | float) -> Tensor:
    """The nearest of `LENGTHS` to η bits, same shape as `bits`.

    Args:
        bits: information of each position.
        eta: complex symbols per bit; broadcast.
    """
    sizes = torch.tensor(LENGTHS, device=bits.device)
    borders = (sizes[1:] + sizes[:-1]) / 2
    return sizes[torch.bucketize(bits * eta, borders)]


def adapted_lengths(bits: Tensor, mean_length: Tensor) -> Tensor:
    """Lengths (B, H, W) of which each picture's mean is at most as wanted, with the largest such η.

    Args:
        bits: (B, H, W) information of each position.
        mean_length: (B,) complex symbols per position; the smallest of `LENGTHS` is used where it is smaller.
    """
    low = torch.full_like(mean_length, 1e-4)
    high = torch.full_like(mean_length, 1e3)
    for _ in range(_BISECTIONS):
        middle = (low * high).sqrt()
        fits = quantised_lengths(bits, middle[:, None, None]).float().mean((1, 2)) <= mean_length
        low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
    return quantised_lengths(bits, low[:, None, None])


def uniform_lengths(bits: Tensor, mean_length: Tensor) -> Tensor:
    """The wanted mean, rounded down, at every position (the ablation); at least the smallest of `LENGTHS`.

    Args:
        bits: (B, H, W), of which only the shape counts.
        mean_length: (B,) complex symbols per position.
    """
    whole = mean_length.floor().long().clamp(LENGTHS[0], MAX_LENGTH)
    return whole[:, None, None].expand(bits.shape)
