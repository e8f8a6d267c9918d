"""Pictures through the image channel: accounting of channel uses, order of symbols, sizes, and other weights."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from common.arrays import Image
from common.channel.physical import Received, capacity_bits, carry
from common.channel.state import ChannelState
from common.channel.transmission import (
    KIND,
    WEIGHTS_NAME,
    Transmitter,
    decode,
    lengths_of,
    load_network,
    psnr_db,
)
from common.errors import SourceError, UsageError
from common.imaging.entropy import Statistics
from common.weights.loader import architecture_of, save_weights
from tests.support.tiny_image_channel import TINY, tiny_network

AWGN = ChannelState(10.0)
SIXTEENTH = Fraction(1, 16)


def picture(height: int = 70, width: int = 100) -> Image:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("channel", [AWGN, ChannelState(4.0, "rayleigh", pilots=3), ChannelState(4.0, "erasure")])
@pytest.mark.parametrize("rate", [Fraction(1, 12), Fraction(1, 24)])
def test_rate_is_used_up_and_never_exceeded(channel: ChannelState, rate: Fraction) -> None:
    signal = Transmitter(tiny_network(), channel, rate).encode(picture())
    assert 0.85 * rate < signal.rate(channel.data_share) <= rate
    assert signal.side_uses > 0


def test_side_information_costs_its_bits_at_capacity() -> None:
    network = tiny_network()
    signal = Transmitter(network, AWGN, SIXTEENTH).encode(picture())
    bits = float(network.side_bits(signal.hyper_latents).detach())
    assert signal.side_uses == pytest.approx(bits / capacity_bits(AWGN), abs=1)
    assert Transmitter(network, AWGN, SIXTEENTH, margin_db=3.0).encode(picture()).side_uses > signal.side_uses


@pytest.mark.parametrize("hyperprior", [True, False])
def test_any_size_comes_back_the_same_with_the_same_seed(hyperprior: bool) -> None:
    network = tiny_network(replace(TINY, lengths=hyperprior, hyperprior=hyperprior))
    for size in ((16, 16), (70, 100), (33, 17)):
        signal = Transmitter(network, AWGN, Fraction(1, 4)).encode(picture(*size))
        first, again, other = (decode(network, signal, carry(AWGN, signal.symbols, seeded(seed))) for seed in (1, 1, 2))
        assert first.shape == (*size, 3) and first.dtype == np.uint8
        assert np.array_equal(first, again) and not np.array_equal(first, other)
        assert (signal.side_uses > 0) is hyperprior


def test_signal_of_another_network_is_refused() -> None:
    signal = Transmitter(tiny_network(), AWGN, SIXTEENTH).encode(picture())
    received = Received(signal.symbols, torch.ones(len(signal.symbols)))
    with pytest.raises(SourceError, match="other weights"):
        decode(tiny_network(replace(TINY, hyper_latents=5)), signal, received)
    with pytest.raises(SourceError, match="other weights"):
        decode(tiny_network(), replace(signal, payload_uses=10 * signal.payload_uses), received)


def test_too_low_rate_is_refused() -> None:
    with pytest.raises(UsageError, match="too low"):
        Transmitter(tiny_network(), AWGN, Fraction(1, 1000)).encode(picture())


def test_wanted_quality_is_reached_with_costs_that_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network, calls = tiny_network(), 0
    costs = network.costs

    def counted(statistics: Statistics, snr_db: Tensor, weights: Tensor | None = None) -> Tensor:
        nonlocal calls
        calls += 1
        return costs(statistics, snr_db, weights)

    monkeypatch.setattr(network, "costs", counted)
    importance = np.eye(4, dtype=np.uint8)
    signal = Transmitter(network, ChannelState(7.0), Fraction(1, 8), quality_db=1.0).encode(picture(64, 64), importance)
    assert calls == 1
    assert int(lengths_of(network, signal).sum()) == len(signal.symbols) < signal.grid[0] * signal.grid[1] * 128


def test_weights_are_read_back(tmp_path: Path) -> None:
    network = tiny_network()
    recorded = {"kind": KIND, **architecture_of(TINY)}
    save_weights(
        WEIGHTS_NAME,
        network.state_dict(),
        recorded,
        {},
        {},
        storage="float32",
        directory=tmp_path,
    )
    again = load_network(directory=tmp_path)
    assert again.config == TINY
    assert torch.equal(again.decoder.enter.weight, network.decoder.enter.weight)


def test_psnr_of_a_known_error() -> None:
    grey = np.full((4, 4, 3), 100, np.uint8)
    assert psnr_db(grey + np.uint8(5), grey) == pytest.approx(20 * np.log10(255 / 5))


def waves(height: int = 40, width: int = 56) -> Image:
    rows, columns = np.mgrid[:height, :width]
    return np.stack((rows * 4, columns * 4, rows + columns), axis=2).astype(np.uint8)


@pytest.mark.parametrize("channel", [ChannelState(10.0), ChannelState(8.0, "rayleigh", block=8)])
def test_error_falls_at_the_same_channel_uses(channel: ChannelState) -> None:
    network = load_network()
    plain = Transmitter(network, channel, Fraction(1, 12))
    signals = [each.encode(waves()) for each in (plain, replace(plain, refinement=20))]
    assert len(signals[0].symbols) == len(signals[1].symbols)
    assert torch.equal(signals[0].hyper_latents, signals[1].hyper_latents)
    errors = []
    for signal in signals:
        received = [carry(channel, signal.symbols, torch.Generator().manual_seed(seed)) for seed in range(50, 58)]
        decoded = np.stack([decode(network, signal, each) for each in received])
        errors.append(float(np.square(decoded.astype(np.float64) - waves()).mean()))
    assert errors[1] < 0.95 * errors[0]


def test_power_stays_one_and_the_result_is_reproducible() -> None:
    transmitter = Transmitter(network := tiny_network(), ChannelState(7.0), Fraction(1, 12), refinement=5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first, again = (transmitter.encode(waves()) for _ in range(2))
    assert torch.equal(first.symbols, again.symbols)
    assert float(first.symbols.abs().square().mean()) == pytest.approx(1.0, abs=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(weight.grad is None for weight in network.parameters())
