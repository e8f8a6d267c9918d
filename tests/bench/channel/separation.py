"""Bits over AWGN by a real code: QAM and the LDPC codes of 5G NR (3GPP TS 38.212), by Sionna (Hoydis et al. 2022)."""

import importlib
import math
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from common.channel.physical import capacity_bits, complex_normal, from_db
from common.channel.state import ChannelState

# Bits of a block at most; longer blocks come nearer to capacity.  Those of a file have at least half as many.
_BLOCK_BITS: Final = 4096
_ITERATIONS: Final = 20
_QAM_BITS: Final = (2, 4, 6, 8)
_CODE_RATES: Final = tuple(step / 40 for step in range(14, 37))
# Of capacity; with blocks of this length no scheme reaches more.
_LARGEST_SHARE: Final = 0.88
# Blocks that are tried, and how many of them may be lost; few are enough to see that most are.
_TRIALS: Final = ((4, 0), (100, 1))


def missing_sionna() -> str | None:
    """What to install for the code; None if it is there."""
    return None if find_spec("sionna") else "sionna is not installed: pip install -e '.[bench]'"


class Scheme(NamedTuple):
    """Modulation and code.

    Args:
        qam_bits: bits of a symbol.
        code_rate: information bits over coded bits.
    """

    qam_bits: int
    code_rate: float

    @property
    def efficiency(self) -> float:
        """Information bits per symbol."""
        return self.qam_bits * self.code_rate


class Blocks:
    """Sends blocks of one length by one scheme."""

    def __init__(self, bits: int, scheme: Scheme) -> None:
        codes, mapping = (importlib.import_module(f"sionna.phy.{name}") for name in ("fec.ldpc", "mapping"))
        self._bits, qam_bits = bits, scheme.qam_bits
        self.uses = math.ceil(bits / scheme.efficiency)
        self._encoder: Any = codes.LDPC5GEncoder(bits, self.uses * qam_bits, num_bits_per_symbol=qam_bits, device="cpu")
        self._decoder: Any = codes.LDPC5GDecoder(self._encoder, num_iter=_ITERATIONS, device="cpu")
        self._mapper: Any = mapping.Mapper("qam", qam_bits, device="cpu")
        self._demapper: Any = mapping.Demapper("app", "qam", qam_bits, device="cpu")

    @torch.no_grad()
    def lost(self, count: int, snr_db: float, generator: torch.Generator) -> int:
        """How many of so many random blocks are decoded with an error."""
        sent = torch.randint(0, 2, (count, self._bits), generator=generator).float()
        symbols: Tensor = self._mapper(self._encoder(sent))
        variance = 1 / from_db(snr_db)
        received = symbols + complex_normal(symbols.shape, generator) * variance.sqrt()
        decoded: Tensor = self._decoder(self._demapper(received, variance))
        return int((decoded != sent).any(1).sum())


def best_scheme(snr_db: float, seed: int) -> Scheme:
    """The most efficient scheme that loses at most one in a hundred of the shortest blocks of a file."""
    generator = torch.Generator().manual_seed(seed)
    for scheme in _schemes(_LARGEST_SHARE * capacity_bits(ChannelState(snr_db))):
        blocks = Blocks(_BLOCK_BITS // 2, scheme)
        if all(blocks.lost(count, snr_db, generator) <= most for count, most in _TRIALS):
            return scheme
    raise AssertionError(f"no scheme for {snr_db} dB")


def _schemes(most: float) -> Iterator[Scheme]:
    """Schemes of at most an efficiency, the most efficient first."""
    every = [Scheme(qam_bits, rate) for qam_bits in _QAM_BITS for rate in _CODE_RATES]
    return iter(sorted((each for each in every if each.efficiency <= most), key=lambda each: -each.efficiency))


class SentFile(NamedTuple):
    """Channel uses of a file, and whether all of its blocks arrived."""

    uses: int
    arrived: bool


def send_file(bits: int, scheme: Scheme, snr_db: float, generator: torch.Generator) -> SentFile:
    """A file of random bits, in as few blocks of equal length as possible."""
    count = math.ceil(bits / _BLOCK_BITS)
    blocks = Blocks(math.ceil(bits / count), scheme)
    return SentFile(count * blocks.uses, not blocks.lost(count, snr_db, generator))
