"""Joint source-channel coding of latents: to as many symbols as each position's length, and back (Dai et al. 2022)."""

import torch
from torch import Tensor, nn

from common.channel.lengths import length_mask
from common.channel.state import MAX_LENGTH
from common.imaging.entropy import Statistics
from common.imaging.layers import Blocks

_CONDITION = 32
# An erased symbol has no power; its level in dB is cut here.
MIN_SNR_DB = -20.0


class Condition(nn.Module):
    """Features (B, 32, H, W) of the channel's state at each position."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2, _CONDITION, 1), nn.ReLU(), nn.Conv2d(_CONDITION, _CONDITION, 1), nn.ReLU()
        )

    def forward(self, snr_db: Tensor, lengths: Tensor) -> Tensor:
        """Of the SNR (B, H, W) in dB and the lengths (B, H, W)."""
        features: Tensor = self.layers(torch.stack((snr_db / 10.0, torch.log2(lengths / 48.0)), dim=1))
        return features


class JsccEncoder(nn.Module):
    """Latents to symbols.

    Args:
        latents: channels of y.
        width: channels inside.
        depth: residual blocks.
    """

    def __init__(self, latents: int, width: int, depth: int) -> None:
        super().__init__()
        self.condition = Condition()
        self.enter = nn.Conv2d(2 * latents, width, 1)
        self.blocks = Blocks(depth, width, _CONDITION)
        self.leave = nn.Conv2d(width, 2 * MAX_LENGTH, 1)

    def forward(self, y: Tensor, statistics: Statistics, snr_db: Tensor, lengths: Tensor) -> Tensor:
        """Complex symbols (B, H, W, MAX_LENGTH) of mean power 1 within each position's length, zero beyond it."""
        source = (y.float() - statistics.mean) / statistics.scale.sqrt()
        features = self.enter(torch.cat((source, statistics.scale.log()), dim=1))
        features = self.blocks(features, self.condition(snr_db, lengths))
        return normalised(as_complex(self.leave(features)) * length_mask(lengths), lengths)


class JsccDecoder(nn.Module):
    """Received symbols to latents."""

    def __init__(self, latents: int, width: int, depth: int) -> None:
        super().__init__()
        self.condition = Condition()
        self.enter = nn.Conv2d(2 * MAX_LENGTH + 2 * latents, width, 1)
        self.blocks = Blocks(depth, width, _CONDITION)
        self.leave = nn.Conv2d(width, latents, 1)

    def forward(self, symbols: Tensor, statistics: Statistics, snr_db: Tensor, lengths: Tensor) -> Tensor:
        """Estimated latents (B, latents, H, W).

        Args:
            symbols: (B, H, W, MAX_LENGTH) equalised, complex, zero beyond the lengths.
            snr_db: (B, H, W) effective SNR of each position.
            lengths: (B, H, W) complex symbols of each position.
        """
        reals = torch.view_as_real(symbols).flatten(3).permute(0, 3, 1, 2)
        features = self.enter(torch.cat((reals, statistics.mean / 8.0, statistics.scale.log()), dim=1))
        features = self.blocks(features, self.condition(snr_db, lengths))
        left: Tensor = self.leave(features)
        return statistics.mean + statistics.scale.sqrt() * left.float()


def as_complex(reals: Tensor) -> Tensor:
    """(B, 2 n, H, W) to complex (B, H, W, n)."""
    return torch.view_as_complex(reals.float().permute(0, 2, 3, 1).unflatten(3, (-1, 2)).contiguous())


def normalised(symbols: Tensor, lengths: Tensor) -> Tensor:
    """Symbols (…, MAX_LENGTH), zero beyond the lengths (…), scaled to mean power 1 within them."""
    energy = torch.view_as_real(symbols).square().sum((-1, -2))
    return symbols * torch.rsqrt(energy / lengths + 1e-12)[..., None]


def position_snr_db(snr: Tensor, lengths: Tensor) -> Tensor:
    """Effective SNR (B, H, W) of each position in dB, from the mean error of its symbols.

    Args:
        snr: (B, H, W, MAX_LENGTH) linear, of each symbol.
        lengths: (B, H, W) complex symbols of each position.
    """
    error = (length_mask(lengths) / (1 + snr)).sum(-1) / lengths
    return (10 * torch.log10((1 / error - 1).clamp_min(1e-9))).clamp_min(MIN_SNR_DB)
