"""Refines the symbols of one picture at the sender, by gradient descent through the channel and the decoder.

The encoder is trained for all pictures; the best symbols for this one are found by descent on the decoded picture's
error, over random noise and with the weights as they are.  The receiver does nothing else than before (after the latent
overfitting of NTSCC+, Wang et al. 2023, but on the symbols themselves).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from common.channel.jscc import normalised, position_snr_db
from common.channel.lengths import gathered, length_mask, scattered
from common.channel.model import ImageChannel
from common.channel.physical import carry
from common.channel.state import ChannelState
from common.imaging.entropy import Statistics
from common.weights.devices import fast_autocast

_RATE = 0.05
_SMALLEST_ERROR = 1e-8


@dataclass(frozen=True, slots=True)
class Target:
    """What the symbols are for.

    Args:
        picture: (1, 3, H', W') original, padded to multiples of 16, 0…1.
        size: height and width that count, pixels.
        statistics: of its latents, as the receiver knows them.
        lengths: (1, H'/16, W'/16) complex symbols of each position.
    """

    picture: Tensor
    size: tuple[int, int]
    statistics: Statistics
    lengths: Tensor


def refined(network: ImageChannel, channel: ChannelState, target: Target, symbols: Tensor, steps: int) -> Tensor:
    """Symbols (1, H'/16, W'/16, MAX_LENGTH) after `steps` steps of Adam; lengths and power of each position stay.

    Args:
        network: that will decode; its weights do not change.
        channel: as the sender believes it to be.
        symbols: as the encoder makes them, shape as the result.
        steps: passes forward and back through the decoder.
    """
    generator = torch.Generator().manual_seed(0)
    free = torch.view_as_real(symbols).clone().requires_grad_(True)
    optimiser = torch.optim.Adam([free], lr=_RATE)
    mask = length_mask(target.lengths)
    height, width = target.size
    original = target.picture[..., :height, :width]
    with torch.enable_grad():
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = _RATE * (1 - step / steps)
            sent = normalised(torch.view_as_complex(free) * mask, target.lengths)
            decoded = _decoded(network, channel, target, sent, generator)[..., :height, :width]
            error = (decoded.float() - original).square().mean()
            (free.grad,) = torch.autograd.grad((error + _SMALLEST_ERROR).log(), [free])
            optimiser.step()
    return normalised(torch.view_as_complex(free.detach()) * mask, target.lengths)


def _decoded(
    network: ImageChannel, channel: ChannelState, target: Target, symbols: Tensor, generator: torch.Generator
) -> Tensor:
    received = carry(channel, gathered(symbols, target.lengths), generator)
    snr_db = position_snr_db(scattered(received.snr, target.lengths), target.lengths)
    with fast_autocast():
        sent = scattered(received.symbols, target.lengths)
        return network.decode(sent, target.statistics, snr_db, target.lengths).pictures
