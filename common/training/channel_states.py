"""Random channels for the training of the image channel: SNR, fading, losses and lengths of a batch."""

import torch
from torch import Tensor

from common.channel.jscc import position_snr_db
from common.channel.lengths import length_mask
from common.channel.model import ImageChannel, Reconstruction, Source
from common.channel.physical import complex_normal, equalised, from_db, transmitted

SNR_RANGE_DB = (-1.0, 13.0)
BASE_RATE = 1 / 16
# Shares of the crops that meet a fading channel, and one that loses packets.
_FADING_SHARE = 0.125
_LOSSY_SHARE = 0.0625
_MAX_LOSS = 0.3


def random_snr_db(batch: int, generator: torch.Generator) -> Tensor:
    """(batch,) uniform in `SNR_RANGE_DB`."""
    low, high = SNR_RANGE_DB
    return low + (high - low) * torch.rand(batch, generator=generator)


def random_gains(shape: torch.Size | tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """Complex gains of positions (batch, height, width): 1 for most crops, Rayleigh for some, 1 or 0 for a few."""
    single = (shape[0], 1, 1)
    kind = torch.rand(single, generator=generator)
    fading = complex_normal(shape, generator)
    loss = _MAX_LOSS * torch.rand(single, generator=generator)
    kept = (torch.rand(shape, generator=generator) >= loss).to(fading.dtype)
    gains = torch.where(kind < _FADING_SHARE, fading, torch.ones_like(fading))
    return torch.where(kind > 1 - _LOSSY_SHARE, kept, gains)


def random_mean_lengths(bits: Tensor, base: float, generator: torch.Generator) -> Tensor:
    """(B,) symbols per position, between those of equal pictures and of parts of one picture that share by information.

    Args:
        bits: (B,) information of each crop.
        base: mean symbols per position at the rate that counts most.
    """
    share, rate, varied = torch.rand(3, len(bits), generator=generator).to(bits.device)
    rate = torch.where(varied < 0.5, 1.0, 2.0 ** (rate * 2 - 1))
    lengths: Tensor = base * rate * (bits / bits.mean()).clamp(0.1, 4.0) ** share
    return lengths


def sent(
    network: ImageChannel, source: Source, snr_db: Tensor, lengths: Tensor, gains: Tensor, generator: torch.Generator
) -> Reconstruction:
    """What the plain decoder makes of pictures after the channel.

    Args:
        snr_db: (B,) mean SNR, known to the sender.
        lengths: (B, H, W) complex symbols of each position.
        gains: (B, H, W) of each position, known to the receiver.
    """
    symbols = network.encode(source, snr_db[:, None, None].expand(gains.shape), lengths)
    snr = from_db(snr_db)[:, None, None, None]
    mask = length_mask(lengths)
    received = equalised(transmitted(symbols, gains[..., None], snr, generator), gains[..., None], snr)
    local_db = position_snr_db(received.snr.expand(mask.shape), lengths)
    return network.decode(received.symbols * mask, source.statistics, local_db, lengths)
