"""Statistics of the simulated channels, their capacity, and what a session sends over them."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from common.channel.physical import (
    arrived_packets,
    bandwidth_ratio,
    capacity_bits,
    carry,
    carry_picture,
    channel_uses,
    complex_normal,
    equalised,
    estimated_gains,
    from_db,
    preamble,
    rayleigh_gains,
    transmitted,
)
from common.channel.signal import Signal
from common.channel.state import KINDS, PREAMBLE_USES, SESSION_KINDS, ChannelState, Kind

_COUNT = 100_000
UNIT_SYMBOLS = torch.polar(torch.ones(4096), torch.linspace(0, 100, 4096))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def power(values: Tensor) -> float:
    return float(values.abs().square().mean())


def test_noise_has_the_snr_that_was_asked_for_and_is_circularly_symmetric() -> None:
    symbols = complex_normal((_COUNT,), seeded(9))
    for snr_db in (-1.0, 4.0, 13.0):
        noise = transmitted(symbols, torch.ones_like(symbols), from_db(snr_db), seeded()) - symbols
        assert 10 * math.log10(power(symbols) / power(noise)) == pytest.approx(snr_db, abs=0.05)
        assert float(noise.real.var()) == pytest.approx(float(noise.imag.var()), rel=0.04)
        assert abs(float((noise.real * noise.imag).mean())) < 0.005 * power(noise) + 0.005


def test_rayleigh_gains_have_their_distribution() -> None:
    gains = rayleigh_gains(_COUNT, 1, seeded(1))
    assert power(gains) == pytest.approx(1.0, rel=0.02)
    for values, name, shape in (
        (gains.abs().square(), "expon", ()),
        (gains.abs(), "rayleigh", (0, 0.5**0.5)),
        (gains.angle(), "uniform", (-torch.pi, 2 * torch.pi)),
    ):
        assert stats.kstest(values[:5000].numpy(), name, args=shape).pvalue > 0.01


def test_gain_is_constant_in_a_block_and_changes_after_it() -> None:
    gains = rayleigh_gains(10, 4, seeded())
    assert torch.equal(gains[:4], gains[:1].expand(4))
    assert gains[3] != gains[4] and len(gains) == 10


def test_error_of_estimated_gains_falls_with_pilots() -> None:
    gains = rayleigh_gains(_COUNT, 2, g := seeded(6))
    for pilots in (1, 4):
        estimate = estimated_gains(gains, 2, from_db(6.0), pilots, g)
        assert power(estimate - gains) == pytest.approx(1 / (float(from_db(6.0)) * pilots), rel=0.03)
        assert torch.equal(estimate[0::2], estimate[1::2])


def test_lost_packets_are_lost_whole_and_nothing_is_estimated_of_them() -> None:
    arrived = arrived_packets(_COUNT, 10, 0.2, seeded(7)).reshape(-1, 10)
    assert float(arrived.mean()) == pytest.approx(0.8, abs=0.02)
    assert torch.equal(arrived, arrived[:, :1].expand(-1, 10))
    received = equalised(torch.ones(3, dtype=torch.complex64), torch.zeros(3, dtype=torch.complex64), from_db(10.0))
    assert not received.symbols.any() and not received.snr.any()


def test_received_symbols_are_as_good_as_their_snr_says() -> None:
    symbols = complex_normal((_COUNT,), seeded(1))
    for kind in KINDS:
        received = carry(ChannelState(5.0, kind, block=4), symbols, seeded())
        least = float((1 / (1 + received.snr)).mean())
        assert power(received.symbols - symbols) == pytest.approx(least, rel=0.02), kind
    known, estimated = (
        power(carry(ChannelState(5.0, "rayleigh", pilots=pilots), symbols, seeded()).symbols - symbols)
        for pilots in (0, 1)
    )
    assert known < estimated, "estimated gains cost quality"


def test_capacity_is_shannons_and_the_mean_over_gains_and_losses() -> None:
    assert capacity_bits(ChannelState(10.0)) == pytest.approx(math.log2(11))
    assert capacity_bits(ChannelState(10.0, "erasure", loss=0.25)) == pytest.approx(0.75 * math.log2(11))
    powers = rayleigh_gains(200_000, 1, seeded()).abs().square().numpy()
    for snr_db in (-28.0, 0.0, 10.0):
        mean = float(np.log2(1 + powers * 10 ** (snr_db / 10)).mean())
        assert capacity_bits(ChannelState(snr_db, "rayleigh")) == pytest.approx(mean, rel=0.02)


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


def test_noise_of_a_picture_depends_on_its_seeds_alone() -> None:
    for kind in SESSION_KINDS:
        channel = ChannelState(5.0, kind, pilots=2)
        first, second = (carry_picture(channel, UNIT_SYMBOLS, 3, 17) for _ in range(2))
        assert torch.equal(first.received.symbols, second.received.symbols)
        assert torch.equal(first.received.snr, second.received.snr)
        assert first.measured_snr_db == second.measured_snr_db
        for seed, sequence in ((4, 17), (3, 18)):
            other = carry_picture(channel, UNIT_SYMBOLS, seed, sequence).received.symbols
            assert not torch.equal(other, first.received.symbols)
    arrived = carry_picture(ChannelState(5.0), UNIT_SYMBOLS[:2], 3, 17).received.symbols
    expected = torch.tensor([[1.0644884, -0.0322939], [0.9333803, -0.0619796]])
    assert torch.allclose(torch.view_as_real(arrived), expected, atol=1e-6), "as earlier versions"


@pytest.mark.parametrize("kind", SESSION_KINDS)
@pytest.mark.parametrize("snr_db", [-1.0, 10.0])
def test_receiver_measures_the_snr_from_known_symbols(kind: Kind, snr_db: float) -> None:
    channel = ChannelState(snr_db, kind)
    measured = [carry_picture(channel, UNIT_SYMBOLS[:1], 0, number).measured_snr_db for number in range(400)]
    found = np.array([each for each in measured if each is not None])
    assert -10 * np.log10(np.mean(10 ** (-found / 10))) == pytest.approx(snr_db, abs=0.2)
    # The deviation of one picture from 64 symbols is about half a decibel.
    assert 0.3 < found.std() < 0.8
    assert torch.allclose(preamble().abs(), torch.ones(PREAMBLE_USES))


def test_everything_counts_as_channel_use() -> None:
    signal = Signal(UNIT_SYMBOLS[:1280], torch.zeros(1, 4, 1, 1), (64, 64), 1300, 20, 10.0)
    assert channel_uses(ChannelState(10.0, pilots=4), signal) == 64 + 1280 + 20, "pilots are for fading"
    with_pilots = ChannelState(10.0, "rayleigh", pilots=4)
    assert channel_uses(with_pilots, signal) == 64 + 1280 + 80 + 20
    assert bandwidth_ratio(with_pilots, signal) == pytest.approx(1444 / 12288)
