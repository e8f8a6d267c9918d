"""Statistics of the simulated channels, their capacity, and their names."""

import math
import struct

import numpy as np
import pytest
import torch
from torch import Tensor

from common.channel.channel import (
    Signal,
    SignalBlob,
    capacity_bits,
    carry,
    complex_normal,
    equalised,
    from_db,
    rayleigh_gains,
)
from common.channel.state import KINDS, ChannelState
from common.errors import MalformedPacket

_COUNT = 100_000


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def power(values: Tensor) -> float:
    return float(values.abs().square().mean())


def test_received_symbols_are_as_good_as_their_snr_says() -> None:
    symbols = complex_normal((_COUNT,), seeded(1))
    for kind in KINDS:
        received = carry(ChannelState(5.0, kind), symbols, seeded())
        least = float((1 / (1 + received.snr)).mean())
        assert power(received.symbols - symbols) == pytest.approx(least, rel=0.02), kind
        again, other = (carry(ChannelState(5.0, kind), symbols, seeded(seed)) for seed in (0, 1))
        assert torch.equal(again.symbols, received.symbols) and not torch.equal(other.symbols, received.symbols)


def test_nothing_is_estimated_of_what_did_not_arrive() -> None:
    received = equalised(torch.ones(3, dtype=torch.complex64), torch.zeros(3, dtype=torch.complex64), from_db(10.0))
    assert not received.symbols.any() and not received.snr.any()


def test_capacity_is_shannons_and_the_mean_over_gains() -> None:
    assert capacity_bits(ChannelState(10.0)) == pytest.approx(math.log2(11))
    powers = rayleigh_gains(200_000, 1, seeded()).abs().square().numpy()
    for snr_db in (-28.0, 0.0, 10.0):
        mean = float(np.log2(1 + powers * 10 ** (snr_db / 10)).mean())
        assert capacity_bits(ChannelState(snr_db, "rayleigh")) == pytest.approx(mean, rel=0.02)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("awgn:10dB", ChannelState(10.0)),
        ("Rayleigh:-1.5db", ChannelState(-1.5, "rayleigh")),
        ("awgn:+4", ChannelState(4.0)),
    ],
)
def test_channel_is_read_from_text(text: str, expected: ChannelState) -> None:
    assert ChannelState.from_text(text) == expected == ChannelState.from_text(str(expected))


@pytest.mark.parametrize("text", ["", "awgn", "awgn:", "awgn:ten", "wire:10dB", "10dB", "awgn:10dB ", "awgn:1e1dB"])
def test_other_texts_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"awgn or rayleigh with an SNR, such as awgn:10dB"):
        ChannelState.from_text(text)


@pytest.mark.parametrize("snr_db", [99.0, -31.0, float("nan")])
def test_impossible_snr_is_refused(snr_db: float) -> None:
    with pytest.raises(ValueError, match="between -30 and 60 dB"):
        ChannelState(snr_db)


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
