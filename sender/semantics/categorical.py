"""Label entries as categorical variables: Cat(y; π) in the CVAE's likelihood (9).

A standardised entry is a real number.  On a grid of K bins it becomes a distribution over two neighbouring bins
(two-hot encoding) whose mean is the entry.  A predicted distribution gives an entry (its mean) and its uncertainty (its
standard deviation), and can have two modes where the image allows two poses.

Shapes: B people, E entries, K bins.
"""

import torch
from torch import Tensor

BINS = 33
RANGE = 4.0


def bin_centres(device: torch.device | None = None) -> Tensor:
    """(K,) values of the bins, in standard deviations of an entry."""
    return torch.linspace(-RANGE, RANGE, BINS, device=device)


def two_hot(entries: Tensor) -> Tensor:
    """(B, E) → (B, E, K): weights on the two nearest bins, with the entry (clamped to ±4) as their mean."""
    position = (entries.clamp(-RANGE, RANGE) + RANGE) * (BINS - 1) / (2 * RANGE)
    lower = position.floor().clamp(0, BINS - 2)
    upper_weight = position - lower
    weights = entries.new_zeros(*entries.shape, BINS)
    index = lower.long().unsqueeze(-1)
    weights.scatter_(-1, index, (1 - upper_weight).unsqueeze(-1))
    return weights.scatter_(-1, index + 1, upper_weight.unsqueeze(-1))


def cross_entropy(logits: Tensor, entries: Tensor) -> Tensor:
    """(B, E, K), (B, E) → (B, E): −log Cat(y; π) in nats, for two-hot targets."""
    return -(two_hot(entries) * logits.log_softmax(-1)).sum(-1)


def moments(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(B, E, K) → mean (B, E) and standard deviation (B, E) of the predicted entries."""
    weights = logits.softmax(-1)
    centres = bin_centres(logits.device)
    mean = weights @ centres
    variance = weights @ centres.square() - mean.square()
    return mean, variance.clamp_min(1e-6).sqrt()
