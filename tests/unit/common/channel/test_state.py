"""Channels by name: capacity, pilots, losses, and invalid settings."""

import math

import numpy as np
import pytest
import torch

from common.channel.physical import capacity_bits, carry, complex_normal, rayleigh_gains
from common.channel.state import ChannelState, Kind


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_capacity_of_awgn_is_shannons() -> None:
    assert capacity_bits(ChannelState(10.0)) == pytest.approx(math.log2(11))


def test_capacity_of_erasures_counts_what_arrives() -> None:
    assert capacity_bits(ChannelState(10.0, "erasure", loss=0.25)) == pytest.approx(0.75 * math.log2(11))


@pytest.mark.parametrize("snr_db", [-28.0, 0.0, 10.0])
def test_capacity_of_rayleigh_is_the_mean_over_gains(snr_db: float) -> None:
    powers = rayleigh_gains(200_000, 1, seeded()).abs().square().numpy()
    mean = float(np.log2(1 + powers * 10 ** (snr_db / 10)).mean())
    assert capacity_bits(ChannelState(snr_db, "rayleigh")) == pytest.approx(mean, rel=0.02)


def test_pilots_take_their_share_of_a_fading_channel() -> None:
    assert ChannelState(10.0, "rayleigh", block=60, pilots=4).data_share == pytest.approx(60 / 64)
    assert ChannelState(10.0, "awgn", pilots=4).data_share == 1.0


@pytest.mark.parametrize("kind", ["awgn", "rayleigh", "erasure"])
def test_received_symbols_are_as_good_as_their_snr_says(kind: Kind) -> None:
    symbols = complex_normal((100_000,), torch.Generator().manual_seed(1))
    received = carry(ChannelState(5.0, kind, block=4), symbols, seeded())
    error = (received.symbols - symbols).abs().square()
    assert float(error.mean()) == pytest.approx(float((1 / (1 + received.snr)).mean()), rel=0.02)


def test_estimated_gains_cost_quality() -> None:
    symbols = complex_normal((50_000,), torch.Generator().manual_seed(1))
    errors = [
        float((carry(ChannelState(5.0, "rayleigh", pilots=pilots), symbols, seeded()).symbols - symbols).abs().mean())
        for pilots in (0, 1)
    ]
    assert errors[0] < errors[1]


@pytest.mark.parametrize(
    "settings",
    [
        {"snr_db": 99.0},
        {"snr_db": float("nan")},
        {"snr_db": 5.0, "kind": "rician"},
        {"snr_db": 5.0, "block": 0},
        {"snr_db": 5.0, "pilots": -1},
        {"snr_db": 5.0, "loss": 1.0},
    ],
)
def test_invalid_setting_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"unknown channel|SNR|block|loss"):
        ChannelState(**settings)  # type: ignore[arg-type]
