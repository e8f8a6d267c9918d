"""Statistics of the simulated channels."""

import pytest
import torch
from scipy import stats
from torch import Tensor

from common.channel.physical import (
    arrived_packets,
    complex_normal,
    equalised,
    estimated_gains,
    from_db,
    rayleigh_gains,
    transmitted,
)

_COUNT = 100_000


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def power(values: Tensor) -> float:
    return float(values.abs().square().mean())


def sent_symbols() -> Tensor:
    return complex_normal((_COUNT,), seeded(9))


@pytest.mark.parametrize("snr_db", [-1.0, 4.0, 13.0])
def test_awgn_has_the_snr_that_was_asked_for(snr_db: float) -> None:
    symbols = sent_symbols()
    received = transmitted(symbols, torch.ones_like(symbols), from_db(snr_db), seeded())
    measured_db = 10 * torch.log10(torch.tensor(power(symbols) / power(received - symbols)))
    assert float(measured_db) == pytest.approx(snr_db, abs=0.05)


def test_noise_is_circularly_symmetric() -> None:
    noise = complex_normal((_COUNT,), seeded())
    assert float(noise.real.var()) == pytest.approx(0.5, rel=0.02)
    assert float(noise.imag.var()) == pytest.approx(0.5, rel=0.02)
    assert abs(float((noise.real * noise.imag).mean())) < 0.005


def test_same_seed_gives_the_same_bits() -> None:
    symbols, snr = sent_symbols(), from_db(7.0)
    outputs = [transmitted(symbols, rayleigh_gains(_COUNT, 8, g := seeded(3)), snr, g) for _ in range(2)]
    other = transmitted(symbols, rayleigh_gains(_COUNT, 8, g := seeded(4)), snr, g)
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], other)


def test_rayleigh_power_is_exponential_with_mean_one() -> None:
    powers = rayleigh_gains(_COUNT, 1, seeded(1)).abs().square()
    assert float(powers.mean()) == pytest.approx(1.0, rel=0.02)
    assert float(powers.var()) == pytest.approx(1.0, rel=0.05)
    assert stats.kstest(powers[:5000].numpy(), "expon").pvalue > 0.01


def test_rayleigh_amplitude_and_phase_distributions() -> None:
    gains = rayleigh_gains(5000, 1, seeded(2))
    assert stats.kstest(gains.abs().numpy(), "rayleigh", args=(0, 0.5**0.5)).pvalue > 0.01
    assert stats.kstest(gains.angle().numpy(), "uniform", args=(-torch.pi, 2 * torch.pi)).pvalue > 0.01


def test_gain_is_constant_in_a_block_and_changes_after_it() -> None:
    gains = rayleigh_gains(10, 4, seeded())
    assert torch.equal(gains[:4], gains[:1].expand(4))
    assert gains[3] != gains[4]
    assert len(gains) == 10


@pytest.mark.parametrize("snr_db", [0.0, 10.0])
def test_equalised_error_is_the_least_mean_squared_error(snr_db: float) -> None:
    symbols, snr = sent_symbols(), from_db(snr_db)
    gains = rayleigh_gains(_COUNT, 1, g := seeded(5))
    received = equalised(transmitted(symbols, gains, snr, g), gains, snr)
    assert power(received.symbols - symbols) == pytest.approx(float((1 / (1 + received.snr)).mean()), rel=0.02)


@pytest.mark.parametrize("pilots", [1, 4])
def test_error_of_estimated_gains_falls_with_pilots(pilots: int) -> None:
    gains = rayleigh_gains(_COUNT, 2, g := seeded(6))
    estimate = estimated_gains(gains, 2, from_db(6.0), pilots, g)
    assert power(estimate - gains) == pytest.approx(1 / (float(from_db(6.0)) * pilots), rel=0.03)
    assert torch.equal(estimate[0::2], estimate[1::2])


def test_lost_packets_are_lost_whole_and_as_often_as_asked() -> None:
    arrived = arrived_packets(_COUNT, 10, 0.2, seeded(7)).reshape(-1, 10)
    assert float(arrived.mean()) == pytest.approx(0.8, abs=0.02)
    assert torch.equal(arrived, arrived[:, :1].expand(-1, 10))


def test_nothing_is_estimated_of_what_did_not_arrive() -> None:
    received = equalised(torch.ones(3, dtype=torch.complex64), torch.zeros(3, dtype=torch.complex64), from_db(10.0))
    assert not received.symbols.any()
    assert not received.snr.any()
