"""Statistics of the simulated channels, their capacity, and their names."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from common.channel.channel import (
    capacity_bits,
    carry,
    complex_normal,
    equalised,
    from_db,
    rayleigh_gains,
)
from common.channel.state import KINDS, ChannelState

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
