"""Refinement of symbols: a smaller error at the same lengths and power, and the same result for the same seed."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from common.arrays import Image
from common.channel.physical import carry
from common.channel.state import ChannelState
from common.channel.transmission import Transmitter, decode, load_network
from tests.support.tiny_image_channel import tiny_network


def picture(height: int = 40, width: int = 56) -> Image:
    rows, columns = np.mgrid[:height, :width]
    waves = np.stack((rows * 4, columns * 4, rows + columns), axis=2)
    return waves.astype(np.uint8)


@pytest.mark.parametrize("channel", [ChannelState(10.0), ChannelState(8.0, "rayleigh", block=8)])
def test_error_falls_at_the_same_channel_uses(channel: ChannelState) -> None:
    network = load_network()
    plain = Transmitter(network, channel, Fraction(1, 12))
    signals = [each.encode(picture()) for each in (plain, replace(plain, refinement=20))]
    assert len(signals[0].symbols) == len(signals[1].symbols)
    assert torch.equal(signals[0].hyper_latents, signals[1].hyper_latents)
    errors = []
    for signal in signals:
        received = [carry(channel, signal.symbols, torch.Generator().manual_seed(seed)) for seed in range(50, 58)]
        decoded = np.stack([decode(network, signal, each) for each in received])
        errors.append(float(np.square(decoded.astype(np.float64) - picture()).mean()))
    assert errors[1] < 0.95 * errors[0]


def test_power_stays_one_and_the_result_is_reproducible() -> None:
    transmitter = Transmitter(network := tiny_network(), ChannelState(7.0), Fraction(1, 12), refinement=5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first, again = (transmitter.encode(picture()) for _ in range(2))
    assert torch.equal(first.symbols, again.symbols)
    assert float(first.symbols.abs().square().mean()) == pytest.approx(1.0, abs=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(weight.grad is None for weight in network.parameters())
