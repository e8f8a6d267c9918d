"""The order in which the symbols of latent positions are sent, and back."""

import torch
from torch import Tensor

from common.channel.jscc import length_mask
from common.channel.state import MAX_LENGTH


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
