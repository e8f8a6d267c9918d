"""Pictures of analogue sessions on the wire: they come back, and what a hostile peer sends is refused."""

import struct

import numpy as np
import pytest
import torch

from common.channel.signal import Signal
from common.channel.signal_blob import SignalBlob, SignalHeader, Window
from common.channel.state import ChannelState
from common.errors import MalformedPacket

_HEADER_BYTES = struct.calcsize(">BBHdQqdIiiIIHHIIBI")
# Offsets of fields in the header.
_KIND, _PILOTS, _SNR, _SEQUENCE, _CAPTURED_AT = 1, 2, 4, 20, 28
_ROWS, _PAYLOAD_USES, _CHANNELS, _SYMBOLS = 56, 60, 68, 69


def blob(power: float = 1.0) -> SignalBlob:
    """A picture of 48 × 32 pixels with random content."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.tensor([4, 8, 12, 16, 24, 128]).reshape(1, 3, 2)
    phases = torch.rand(int(lengths.sum()), generator=generator) * 6.28
    symbols = torch.polar(torch.full_like(phases, power**0.5), phases)
    hyper = torch.randint(-300, 300, (1, 4, 1, 1), generator=generator).float()
    signal = Signal(symbols, hyper, (48, 32), payload_uses=200, side_uses=17, snr_db=3.3)
    window = Window(7, -20, 30, 400, 400)
    return SignalBlob(12, 1.5e9, window, ChannelState(3.3, "rayleigh", pilots=2), 2**62 + 1, signal, lengths)


def changed(data: bytes, offset: int, content: bytes) -> bytes:
    return data[:offset] + content + data[offset + len(content) :]


def test_picture_comes_back_as_it_was_sent() -> None:
    sent = blob()
    found = SignalBlob.decode(sent.encode())
    assert found.encode() == sent.encode()
    for name in ("sequence", "captured_at", "window", "channel", "seed"):
        assert getattr(found, name) == getattr(sent, name)
    assert torch.equal(found.lengths, sent.lengths)
    assert torch.equal(found.signal.hyper_latents, sent.signal.hyper_latents)
    assert (found.signal.size, found.signal.payload_uses, found.signal.side_uses) == ((48, 32), 200, 17)
    error = (found.signal.symbols - sent.signal.symbols).abs().square().mean()
    assert error < 1e-6  # the rounding to float16 is 60 dB under the symbols


def test_cut_or_lengthened_pictures_are_refused() -> None:
    data = blob().encode()
    for wrong in (b"", data[:1], data[:_HEADER_BYTES], data[:-1], data + b"\0"):
        with pytest.raises(MalformedPacket):
            SignalHeader.read(wrong)


@pytest.mark.parametrize(
    ("offset", "content", "reason"),
    [
        (0, b"\2", "version"),
        (_KIND, b"\2", "unknown channel"),
        (_PILOTS, b"\1\0", "unknown channel"),
        (_SNR, struct.pack(">d", 61.0), "impossible channel"),
        (_SNR, struct.pack(">d", float("nan")), "impossible channel"),
        (_SEQUENCE, struct.pack(">q", -1), "frame number"),
        (_CAPTURED_AT, struct.pack(">d", float("inf")), "time"),
        (_ROWS, b"\0\0", "pixels"),
        (_ROWS, b"\2\1", "pixels"),
        (_PAYLOAD_USES, b"\xff" * 4, "channel uses"),
        (_CHANNELS, b"\5", "bytes"),
        (_SYMBOLS, b"\xff" * 4, "bytes"),
    ],
)
def test_header_out_of_range_is_refused(offset: int, content: bytes, reason: str) -> None:
    with pytest.raises(MalformedPacket, match=reason):
        SignalHeader.read(changed(blob().encode(), offset, content))


def test_numbers_that_contradict_the_header_are_refused() -> None:
    data = blob().encode()
    with pytest.raises(MalformedPacket, match="does not exist"):
        SignalBlob.decode(changed(data, _HEADER_BYTES, b"\x0f"))
    with pytest.raises(MalformedPacket, match="do not fit"):
        SignalBlob.decode(changed(data, _HEADER_BYTES, b"\1"))
    with pytest.raises(MalformedPacket, match="do not fit"):
        SignalBlob.decode(changed(data, _PAYLOAD_USES, struct.pack(">I", 100)))


def test_symbols_that_are_too_strong_or_not_finite_are_refused() -> None:
    last = (np.array(symbol, ">f2").tobytes() for symbol in (np.nan, np.inf, 60.0))
    for data in (blob(power=1.1).encode(), *(blob().encode()[:-2] + each for each in last)):
        with pytest.raises(MalformedPacket, match="power"):
            SignalBlob.decode(data)


def test_random_bytes_never_do_more_than_be_refused() -> None:
    rng, data = np.random.default_rng(0), blob().encode()
    for _ in range(300):
        damaged = bytearray(data)
        for position in rng.integers(0, len(data), 3):
            damaged[position] = rng.integers(256)
        try:
            SignalBlob.decode(bytes(damaged))
        except MalformedPacket:
            continue
