"""Earlier pictures of a sequence as side information at the receiver: a Kalman filter of the latents.

The sender does not know the noise of the channel, so it does not know what the receiver has of earlier pictures, and
cannot send differences to that: after the first noise both ends would drift apart.  Each picture is therefore sent by
itself, and the receiver takes its latents from earlier pictures as further measurements of what has not moved
(Wyner and Ziv 1976: side information at the decoder alone).

    estimate ŷ, error R of it by the channel ─┐
    state x of the picture before, error P ───┴─ x ← ŷ + K (x − ŷ),  K = R / ((R + P) m²)

m is the normalised innovation squared, the mean of (ŷ − x)² / (R + P) over the channels of nine positions: 1 where
only noise has changed, and larger where the picture has.  An adaptive Kalman filter that adds the excess to P has a
weight with 1/m.  With 1/m², which was chosen on panned photographs, no picture loses where things move.
"""

import torch
from torch import Tensor
from torch.nn import functional

from common.channel.jscc import position_snr_db
from common.channel.lengths import scattered
from common.channel.model import ImageChannel
from common.channel.physical import Received, complex_normal
from common.imaging.entropy import Statistics

_PERTURBATIONS = 4
_LEAST_VARIANCE = 1e-3


@torch.no_grad()
def estimated_latents(
    network: ImageChannel, received: Received, statistics: Statistics, lengths: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Latents of a picture (1, latents, H/16, W/16), and the variance of their error by the channel alone.

    The variance is measured: the decoder runs on the symbols again with as much noise added as is in them.

    Args:
        received: the symbols in the order of sending.
        lengths: (1, H/16, W/16) symbols of each position.
    """
    snr_db = position_snr_db(scattered(received.snr, lengths), lengths)
    deviation = received.snr.sqrt() / (1 + received.snr)
    noisy = [
        received.symbols + deviation * complex_normal(received.symbols.shape, generator) for _ in range(_PERTURBATIONS)
    ]
    symbols = torch.cat([scattered(each, lengths) for each in (received.symbols, *noisy)])
    count = len(symbols)
    repeated = Statistics(*(each.expand(count, -1, -1, -1) for each in statistics))
    latents = network.decoder(symbols, repeated, snr_db.expand(count, -1, -1), lengths.expand(count, -1, -1))
    return latents[:1], (latents[1:] - latents[:1]).square().mean(0, keepdim=True)


class LatentFilter:
    """The state of one sequence of pictures of the same place."""

    def __init__(self) -> None:
        self._state: tuple[Tensor, Tensor] | None = None
        self.share = 0.0
        """Mean weight of the earlier pictures in the last one, 0…1."""

    def reset(self) -> None:
        """Forgets earlier pictures: the next one shows another place."""
        self._state = None

    def update(self, estimate: Tensor, variance: Tensor) -> Tensor:
        """Latents of the newest picture; shapes as of `estimated_latents`."""
        variance = _around(variance) + _LEAST_VARIANCE
        if self._state is None or self._state[0].shape != estimate.shape:
            self._state, self.share = (estimate, variance), 0.0
            return estimate
        state, state_variance = self._state
        sum_variance = variance + state_variance
        innovation = _around(((estimate - state).square() / sum_variance).mean(1, keepdim=True)).clamp_min(1.0)
        weight = variance / (sum_variance * innovation.square())
        latents = estimate + weight * (state - estimate)
        changed = state_variance + (innovation - 1) * sum_variance
        self._state = latents, (1 - weight).square() * variance + weight.square() * changed
        self.share = float(weight.mean())
        return latents


def _around(values: Tensor) -> Tensor:
    """Means over nine positions, fewer at the border."""
    return functional.avg_pool2d(values, 3, stride=1, padding=1, count_include_pad=False)
