"""What a picture becomes on the air: complex symbols, and hyper latents that are sent digitally."""

import io
import math
import zipfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.arrays import ByteArray
from common.channel.importance import LEVELS
from common.channel.state import LENGTHS
from common.errors import OutputError, SourceError, UsageError
from common.imaging.grid import latent_grid
from common.io.atomic_write import atomic_write

MAX_SIDE_PX = 8192
_FIELDS = ("symbols", "hyper_latents", "size", "payload_uses", "side_uses", "snr_db", "importance")


@dataclass(frozen=True, eq=False)
class Signal:
    """A picture on the air.

    Args:
        symbols: (n,) complex64 of mean power 1, position by position in the order of `placement.position_order`.
        hyper_latents: (1, channels, h, w) whole numbers, sent digitally; no elements without hyperprior.
        size: height and width of the picture, pixels.
        payload_uses: the budget that the lengths share, channel uses.
        side_uses: channel uses of the hyper latents, and of the importance.
        snr_db: that the symbols were made for.
        importance: (h, w) level of each position (`common.channel.importance`); None if all count alike.
    """

    symbols: Tensor
    hyper_latents: Tensor
    size: tuple[int, int]
    payload_uses: int
    side_uses: int
    snr_db: float
    importance: ByteArray | None = None

    def __post_init__(self) -> None:
        if not all(0 < side <= MAX_SIDE_PX for side in self.size):
            raise ValueError(f"a picture has 1 to {MAX_SIDE_PX} pixels a side")
        if self.symbols.ndim != 1 or not self.symbols.is_complex() or self.hyper_latents.ndim != 4:
            raise ValueError("arrays of another shape")
        if not (torch.isfinite(torch.view_as_real(self.symbols)).all() and torch.isfinite(self.hyper_latents).all()):
            raise ValueError("values that are not finite")
        if len(self.symbols) > self.payload_uses or self.side_uses < 0:
            raise ValueError("more symbols than the budget")
        levels = self.importance
        if levels is not None and (levels.shape != self.grid or levels.max() >= LEVELS):
            raise ValueError("importance of another size, or a level that does not exist")

    @property
    def grid(self) -> tuple[int, int]:
        """Latent positions in height and width."""
        return latent_grid(self.size)

    @property
    def mean_length(self) -> Tensor:
        """(1,) channel uses per position, in double precision."""
        return torch.tensor([self.payload_uses / (self.grid[0] * self.grid[1])], dtype=torch.float64)

    def rate(self, data_share: float = 1.0) -> float:
        """Bandwidth ratio: channel uses per colour value of a pixel; `data_share` as in `ChannelState`."""
        return (len(self.symbols) / data_share + self.side_uses) / (3 * self.size[0] * self.size[1])

    def write(self, path: Path) -> None:
        """Writes the signal as NumPy's archive. Raises OutputError if the file cannot be written."""
        values = (
            self.symbols.numpy(),
            self.hyper_latents.to(torch.int16).numpy(),
            np.array(self.size),
            np.array(self.payload_uses),
            np.array(self.side_uses),
            np.array(self.snr_db),
            np.zeros((0, 0), np.uint8) if self.importance is None else self.importance,
        )
        stream = io.BytesIO()
        np.savez(stream, allow_pickle=False, **dict(zip(_FIELDS, values, strict=True)))
        try:
            atomic_write(path, stream.getvalue())
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}") from error

    @classmethod
    def read(cls, path: Path) -> "Signal":
        """Reads what `write` wrote. Raises SourceError if the file is missing, or no signal."""
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
                symbols, hyper_latents, size, payload_uses, side_uses, snr_db, levels = (
                    archive[name] for name in _FIELDS
                )
            return cls(
                torch.from_numpy(symbols.astype(np.complex64)),
                torch.from_numpy(hyper_latents.astype(np.float32)),
                (int(size[0]), int(size[1])),
                int(payload_uses),
                int(side_uses),
                float(snr_db),
                levels.astype(np.uint8) if levels.size else None,
            )
        except FileNotFoundError as error:
            raise SourceError(f"{path}: no such file; `encode` writes one") from error
        except (OSError, ValueError, TypeError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
            raise SourceError(f"{path}: not a signal that `encode` wrote") from error


def payload_uses(rate: Fraction, size: tuple[int, int], side_uses: int, data_share: float) -> int:
    """Channel uses that a picture's positions share at a bandwidth ratio.

    Raises:
        UsageError: the rate is too low for the picture.
    """
    positions = math.prod(latent_grid(size))
    values = 3 * size[0] * size[1]
    payload = int((rate * values - side_uses) * Fraction(data_share))
    if payload < LENGTHS[0] * positions:
        least = (LENGTHS[0] * positions / data_share + side_uses) / values
        raise UsageError(f"--rate {rate} is too low for this picture and channel: use at least 1/{int(1 / least)}")
    return payload
