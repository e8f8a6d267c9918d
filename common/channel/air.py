"""The simulated channel of an analogue session: noise and fading are applied exactly once, by the receiver.

    preamble of known symbols ─ SNR as the receiver measures it
    symbols of the picture ─── equalised symbols

Noise and fading of a picture depend on the seed of the session and the number of its frame alone, so that they are
equal in every run, whatever pictures were dropped before it.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.channel.physical import Received, carry, from_db, rayleigh_gains, transmitted
from common.channel.signal import Signal
from common.channel.state import PREAMBLE_USES, ChannelState


class OnAir(NamedTuple):
    """What arrived of a picture.

    Args:
        received: its symbols.
        measured_snr_db: mean SNR of the channel from the noise on the preamble; None if that has none.
    """

    received: Received
    measured_snr_db: float | None


def carried(channel: ChannelState, symbols: Tensor, seed: int, sequence: int) -> OnAir:
    """Sends preamble and symbols over the channel.

    Args:
        symbols: (n,) complex, of mean power 1.
        seed: of the session.
        sequence: of the frame.
    """
    generator = picture_generator(seed, sequence)
    measured = _measured_snr_db(channel, generator)
    return OnAir(carry(channel, symbols, generator), measured)


def picture_generator(seed: int, sequence: int) -> torch.Generator:
    """The generator of one picture's noise."""
    state = np.random.SeedSequence([seed, sequence]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


def preamble() -> Tensor:
    """(PREAMBLE_USES,) known QPSK symbols of power 1."""
    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(0, 2, (PREAMBLE_USES, 2), generator=generator).float()
    return torch.view_as_complex((2 * bits - 1) / 2**0.5)


def channel_uses(channel: ChannelState, signal: Signal) -> int:
    """Everything that a picture occupies: preamble, symbols, pilots between them, and hyper latents at capacity."""
    return PREAMBLE_USES + round(len(signal.symbols) / channel.data_share) + signal.side_uses


def bandwidth_ratio(channel: ChannelState, signal: Signal) -> float:
    """Channel uses per colour value of a pixel."""
    return channel_uses(channel, signal) / (3 * signal.size[0] * signal.size[1])


def _measured_snr_db(channel: ChannelState, generator: torch.Generator) -> float | None:
    """From the residual of the least-squares estimate of the gain, which has one degree of freedom less."""
    known, snr = preamble(), from_db(channel.snr_db)
    gains = torch.ones(PREAMBLE_USES, dtype=torch.complex64)
    if channel.kind == "rayleigh":
        gains = rayleigh_gains(PREAMBLE_USES, PREAMBLE_USES, generator)
    received = transmitted(known, gains, snr, generator)
    gain = (known.conj() * received).mean()
    noise = float((received - gain * known).abs().square().sum() / (PREAMBLE_USES - 1))
    return float(-10 * np.log10(noise)) if noise > 0 else None
