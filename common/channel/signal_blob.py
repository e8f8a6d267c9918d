"""A picture of an analogue session on the wire: the blob of the kind `SIGNAL`, which has the clean symbols.

Layout: the header; the number of each position's length in `LENGTHS`, one byte each, row by row; the hyper latents, two
bytes each, by channel and row; the symbols, real and imaginary part as float16 each.  All numbers are big-endian.

The header has the version, 1 B; the channel, 1 B: 0 AWGN, 1 Rayleigh; pilots in each block of 64 symbols, 2 B; SNR in
dB, 8 B; seed of the noise, 8 B; sequence number of the frame, 8 B, and its time of capture in seconds since the epoch,
8 B; number of the window, its left and top (signed), width and height in pixels of the frame, 4 B each; height and
width of the picture, 2 B each; channel uses that its positions share, and those of the hyper latents, 4 B each;
channels of the hyper latents, 1 B; number of symbols, 4 B.

Lengths follow from the hyper latents.  They are sent all the same, because ends with different processors may round
differently where one is between two values.
"""

import math
import struct
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from common.channel.signal import Signal
from common.channel.state import LENGTHS, MAX_PILOTS, MAX_SIDE_PX, SESSION_KINDS, ChannelState
from common.errors import MalformedPacket
from common.imaging.grid import hyper_grid, latent_grid

VERSION = 1
_HEADER = struct.Struct(">BBHdQqdIiiIIHHIIBI")
_MAX_SEQUENCE = 2**53 - 2
_MAX_USES = 2**24
# Rounding to float16 changes the power of the symbols a little.
_MAX_POWER = 1.01


@dataclass(frozen=True, slots=True)
class Window:
    """What part of the camera's picture is sent.

    Args:
        number: counts up with every other part, so that the receiver knows which pictures show the same place.
        left, top: of the first pixel of the camera's picture, which may lie outside of it.
        width, height: in pixels of the camera's picture.
    """

    number: int
    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True, eq=False)
class SignalBlob:
    """One picture.

    Args:
        sequence: of its frame.
        captured_at: seconds since the epoch, on the sender's clock.
        window: what part of the frame it shows.
        seed: of the noise of the session.
        lengths: (1, height / 16, width / 16) symbols of each position.
    """

    sequence: int
    captured_at: float
    window: Window
    channel: ChannelState
    seed: int
    signal: Signal
    lengths: Tensor

    def encode(self) -> bytes:
        """The content of the blob."""
        signal, window, channel = self.signal, self.window, self.channel
        header = _HEADER.pack(
            VERSION,
            SESSION_KINDS.index(channel.kind),
            channel.pilots,
            channel.snr_db,
            self.seed,
            self.sequence,
            self.captured_at,
            window.number,
            window.left,
            window.top,
            window.width,
            window.height,
            *signal.size,
            signal.payload_uses,
            signal.side_uses,
            signal.hyper_latents.shape[1],
            len(signal.symbols),
        )
        numbers = torch.searchsorted(torch.tensor(LENGTHS), self.lengths.flatten()).to(torch.uint8)
        symbols = torch.view_as_real(signal.symbols).numpy()
        return b"".join(
            (
                header,
                numbers.numpy().tobytes(),
                signal.hyper_latents.numpy().astype(">i2").tobytes(),
                symbols.astype(">f2").tobytes(),
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> "SignalBlob":
        """The picture that `encode` wrote.

        Raises:
            MalformedPacket: the blob is none of a picture, or its symbols have more power than the channel permits.
        """
        header = SignalHeader.read(data)
        grid, positions = header.grid, math.prod(header.grid)
        numbers = np.frombuffer(data, np.uint8, positions, _HEADER.size)
        if numbers.max() >= len(LENGTHS):
            raise MalformedPacket("a picture has a length that does not exist")
        lengths = torch.tensor(LENGTHS)[torch.from_numpy(numbers.astype(np.int64))].reshape(1, *grid)
        hyper = np.frombuffer(data, ">i2", math.prod(header.hyper_shape), _HEADER.size + positions)
        parts = np.frombuffer(data, ">f2", 2 * header.symbols, len(data) - 4 * header.symbols).astype(np.float32)
        symbols = torch.view_as_complex(torch.from_numpy(parts.reshape(-1, 2)))
        if int(lengths.sum()) != header.symbols or header.symbols > header.payload_uses:
            raise MalformedPacket("the symbols of a picture do not fit its lengths")
        if not float(symbols.abs().square().mean()) <= _MAX_POWER:
            raise MalformedPacket("the symbols of a picture have more power than the channel permits")
        hyper_latents = torch.from_numpy(hyper.astype(np.float32)).reshape(1, *header.hyper_shape)
        uses = header.payload_uses, header.side_uses
        signal = Signal(symbols, hyper_latents, header.size, *uses, header.channel.snr_db)
        return cls(header.sequence, header.captured_at, header.window, header.channel, header.seed, signal, lengths)


@dataclass(frozen=True, slots=True)
class SignalHeader:
    """The header of a blob, checked; fields as in `SignalBlob` and `Signal`.

    Args:
        channels: of the hyper latents.
        symbols: how many follow.
    """

    sequence: int
    captured_at: float
    window: Window
    channel: ChannelState
    seed: int
    size: tuple[int, int]
    payload_uses: int
    side_uses: int
    channels: int
    symbols: int

    @property
    def grid(self) -> tuple[int, int]:
        """Positions in height and width."""
        return latent_grid(self.size)

    @property
    def hyper_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the hyper latents."""
        return self.channels, *hyper_grid(self.size)

    @classmethod
    def read(cls, data: bytes) -> "SignalHeader":
        """The header, without a look at the numbers that follow.

        Raises:
            MalformedPacket: a field is out of range, or the blob has another length than it says.
        """
        if len(data) < _HEADER.size or data[0] != VERSION:
            raise MalformedPacket(f"no picture of a simulated channel of version {VERSION}")
        _, kind, pilots, snr_db, seed, sequence, captured_at, *rest = _HEADER.unpack_from(data)
        number, left, top, width, height, rows, columns, payload_uses, side_uses, channels, symbols = rest
        if kind >= len(SESSION_KINDS) or pilots > MAX_PILOTS:
            raise MalformedPacket("a picture of an unknown channel")
        try:
            channel = ChannelState(snr_db, SESSION_KINDS[kind], pilots=pilots)
        except ValueError as error:
            raise MalformedPacket(f"a picture of an impossible channel: {error}") from error
        if not (1 <= rows <= MAX_SIDE_PX and 1 <= columns <= MAX_SIDE_PX):
            raise MalformedPacket(f"a picture of {rows} × {columns} pixels; they have up to {MAX_SIDE_PX} a side")
        if not 0 <= sequence <= _MAX_SEQUENCE or not math.isfinite(captured_at):
            raise MalformedPacket("a picture without a valid frame number and time")
        if not (1 <= payload_uses <= _MAX_USES and side_uses <= _MAX_USES):
            raise MalformedPacket("a picture with an impossible number of channel uses")
        window = Window(number, left, top, width, height)
        uses = payload_uses, side_uses
        header = cls(sequence, captured_at, window, channel, seed, (rows, columns), *uses, channels, symbols)
        length = _HEADER.size + math.prod(header.grid) + 2 * math.prod(header.hyper_shape) + 4 * symbols
        if len(data) != length:
            raise MalformedPacket(f"a picture of {len(data)} bytes says that it has {length}")
        return header
