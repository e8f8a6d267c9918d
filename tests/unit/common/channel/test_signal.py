"""Pictures of analogue sessions on the wire: they come back, and what a hostile peer sends is refused."""

import struct

import numpy as np
import pytest
import torch

from common.channel.channel import Signal, SignalBlob
from common.channel.state import ChannelState
from common.errors import MalformedPacket

_HEADER_BYTES = struct.calcsize(">BBdqdiiIHHIBI")
# Offsets of fields in the header.
_KIND, _SNR, _SEQUENCE, _CAPTURED_AT, _HEIGHT, _SIDE_USES, _CHANNELS, _SYMBOLS = 1, 2, 10, 18, 38, 42, 46, 47


def blob(power: float = 1.0) -> SignalBlob:
    """A picture of 48 × 32 pixels with random content."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.tensor([4, 8, 12, 16, 24, 128]).reshape(1, 3, 2)
    phases = torch.rand(int(lengths.sum()), generator=generator) * 6.28
    symbols = torch.polar(torch.full_like(phases, power**0.5), phases)
    hyper = torch.randint(-300, 300, (1, 4, 1, 1), generator=generator).float()
    signal = Signal(symbols, lengths, hyper, (48, 32), side_uses=17)
    return SignalBlob(12, 1.5e9, (-20, 30, 400), ChannelState(3.3, "rayleigh"), signal)


def changed(data: bytes, offset: int, content: bytes) -> bytes:
    return data[:offset] + content + data[offset + len(content) :]


def test_picture_comes_back_as_it_was_sent() -> None:
    sent = blob()
    found = SignalBlob.decode(sent.encode())
    assert found.encode() == sent.encode()
    for name in ("sequence", "captured_at", "window", "channel"):
        assert getattr(found, name) == getattr(sent, name)
    assert torch.equal(found.signal.lengths, sent.signal.lengths)
    assert torch.equal(found.signal.hyper_latents, sent.signal.hyper_latents)
    assert (found.signal.size, found.signal.uses) == ((48, 32), 192 + 17)
    assert found.signal.bandwidth_ratio == pytest.approx(209 / (3 * 48 * 32))
    error = (found.signal.symbols - sent.signal.symbols).abs().square().mean()
    assert error < 1e-6  # the rounding to float16 is 60 dB under the symbols


@pytest.mark.parametrize(
    ("offset", "content", "reason"),
    [
        (0, b"\1", "version"),
        (_KIND, b"\2", "known one"),
        (_SNR, struct.pack(">d", 61.0), "known one"),
        (_SNR, struct.pack(">d", float("nan")), "known one"),
        (_SEQUENCE, struct.pack(">q", -1), "sequence"),
        (_CAPTURED_AT, struct.pack(">d", float("inf")), "time"),
        (_HEIGHT, b"\0\0", "pixels"),
        (_HEIGHT, b"\2\1", "pixels"),
        (_SIDE_USES, b"\xff" * 4, "channel uses"),
        (_CHANNELS, b"\5", "bytes"),
        (_SYMBOLS, b"\xff" * 4, "bytes"),
        (_HEADER_BYTES, b"\x0f", "exists"),
        (_HEADER_BYTES, b"\1", "fit its lengths"),
    ],
)
def test_field_out_of_range_is_refused(offset: int, content: bytes, reason: str) -> None:
    with pytest.raises(MalformedPacket, match=reason):
        SignalBlob.decode(changed(blob().encode(), offset, content))


def test_symbols_that_are_too_strong_or_not_finite_are_refused() -> None:
    last = (np.array(symbol, ">f2").tobytes() for symbol in (np.nan, np.inf, 60.0))
    for data in (blob(power=1.1).encode(), *(blob().encode()[:-2] + each for each in last)):
        with pytest.raises(MalformedPacket, match="power"):
            SignalBlob.decode(data)


def test_cut_or_damaged_pictures_are_never_more_than_refused() -> None:
    rng, data = np.random.default_rng(0), blob().encode()
    for wrong in (b"", data[:1], data[:_HEADER_BYTES], data[:-1], data + b"\0"):
        with pytest.raises(MalformedPacket):
            SignalBlob.decode(wrong)
    for _ in range(300):
        damaged = bytearray(data)
        for position in rng.integers(0, len(data), 3):
            damaged[position] = rng.integers(256)
        try:
            SignalBlob.decode(bytes(damaged))
        except MalformedPacket:
            continue
