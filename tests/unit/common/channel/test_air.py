"""Noise of analogue sessions: its power, its seeds, and what the receiver measures of it."""

import numpy as np
import pytest
import torch

from common.channel.air import bandwidth_ratio, carried, channel_uses, preamble
from common.channel.signal import Signal
from common.channel.state import PREAMBLE_USES, ChannelState, Kind

SYMBOLS = torch.polar(torch.ones(4096), torch.linspace(0, 100, 4096))


@pytest.mark.parametrize("kind", ["awgn", "rayleigh"])
def test_equal_seeds_give_equal_bits(kind: Kind) -> None:
    channel = ChannelState(5.0, kind, pilots=2)
    first, second = (carried(channel, SYMBOLS, 3, 17) for _ in range(2))
    assert torch.equal(first.received.symbols, second.received.symbols)
    assert torch.equal(first.received.snr, second.received.snr)
    assert first.measured_snr_db == second.measured_snr_db
    for seed, sequence in ((4, 17), (3, 18)):
        assert not torch.equal(carried(channel, SYMBOLS, seed, sequence).received.symbols, first.received.symbols)


def test_seeds_give_the_noise_that_they_gave_before() -> None:
    arrived = carried(ChannelState(5.0), SYMBOLS[:2], 3, 17)
    expected = torch.tensor([[1.0644884, -0.0322939], [0.9333803, -0.0619796]])
    assert torch.allclose(torch.view_as_real(arrived.received.symbols), expected, atol=1e-6)


def test_noise_has_the_power_of_the_snr() -> None:
    received = carried(ChannelState(5.0), SYMBOLS, 0, 0).received
    gain = received.snr / (1 + received.snr)
    noise = (received.symbols / gain - SYMBOLS).abs().square().mean()
    assert float(-10 * torch.log10(noise)) == pytest.approx(5.0, abs=0.3)


@pytest.mark.parametrize("kind", ["awgn", "rayleigh"])
@pytest.mark.parametrize("snr_db", [-1.0, 10.0])
def test_receiver_measures_the_snr_from_known_symbols(kind: Kind, snr_db: float) -> None:
    channel = ChannelState(snr_db, kind)
    measured = [carried(channel, SYMBOLS[:1], 0, number).measured_snr_db for number in range(400)]
    noise = np.mean([10 ** (-each / 10) for each in measured if each is not None])
    assert -10 * np.log10(noise) == pytest.approx(snr_db, abs=0.2)
    # The deviation of one picture from 64 symbols is about half a decibel.
    assert 0.3 < np.std([each for each in measured if each is not None]) < 0.8


def test_known_symbols_have_the_power_of_others() -> None:
    assert preamble().shape == (PREAMBLE_USES,)
    assert torch.allclose(preamble().abs(), torch.ones(PREAMBLE_USES))


def test_everything_counts_as_channel_use() -> None:
    signal = Signal(SYMBOLS[:1280], torch.zeros(1, 4, 1, 1), (64, 64), 1300, 20, 10.0)
    assert channel_uses(ChannelState(10.0), signal) == 64 + 1280 + 20
    with_pilots = ChannelState(10.0, "rayleigh", pilots=4)
    assert channel_uses(with_pilots, signal) == 64 + 1280 + 80 + 20
    assert bandwidth_ratio(with_pilots, signal) == pytest.approx(1444 / 12288)
