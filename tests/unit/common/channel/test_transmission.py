"""Pictures through the image channel: accounting of channel uses, sizes, other weights, and what matters most."""

import io
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image as Pictures
from skimage.metrics import peak_signal_noise_ratio

from common.arrays import ByteArray, Image
from common.channel.channel import Received, capacity_bits, carry
from common.channel.image_codec import decode, encode, load_network, map_bits
from common.channel.state import LENGTHS, ChannelState
from common.errors import MalformedPacket, UsageError
from tests.support.processes.demo_clip import demo_pictures
from tests.support.training.tiny_image_channel import TINY, tiny_network

AWGN = ChannelState(10.0)


def picture(height: int = 70, width: int = 100) -> Image:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("channel", [AWGN, ChannelState(4.0, "rayleigh")])
@pytest.mark.parametrize("rate", [Fraction(1, 12), Fraction(1, 24)])
def test_rate_is_used_up_and_never_exceeded(channel: ChannelState, rate: Fraction) -> None:
    network = tiny_network()
    signal = encode(network, picture(), channel, rate)
    assert 0.85 * rate < signal.bandwidth_ratio <= rate
    assert int(signal.lengths.sum()) == len(signal.symbols)
    bits = float(network.side_bits(signal.hyper_latents).detach())
    assert signal.side_uses == pytest.approx(bits / capacity_bits(channel), abs=1)


def test_any_size_comes_back_the_same_with_the_same_seed() -> None:
    network = tiny_network()
    for size in ((16, 16), (70, 100), (33, 17)):
        signal = encode(network, picture(*size), AWGN, Fraction(1, 4))
        first, again, other = (decode(network, signal, carry(AWGN, signal.symbols, seeded(seed))) for seed in (1, 1, 2))
        assert first.shape == (*size, 3) and first.dtype == np.uint8
        assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_signal_of_another_network_and_too_low_rate_are_refused() -> None:
    signal = encode(tiny_network(), picture(), AWGN, Fraction(1, 16))
    received = Received(signal.symbols, torch.ones(len(signal.symbols)))
    with pytest.raises(MalformedPacket, match="another network"):
        decode(tiny_network(replace(TINY, hyper_latents=5)), signal, received)
    with pytest.raises(UsageError, match=r"--rate 1/900 is too low .* at least 1/1"):
        encode(tiny_network(), picture(), AWGN, Fraction(1, 900))


def test_importance_is_left_out_where_it_has_no_room() -> None:
    network, levels = tiny_network(), np.random.default_rng(0).integers(0, 3, (5, 7)).astype(np.uint8)
    plain = encode(network, picture(), AWGN, Fraction(1, 12))
    least = Fraction(plain.side_uses + LENGTHS[0] * 35, 3 * 70 * 100)
    assert encode(network, picture(), AWGN, Fraction(1, 12), levels).side_uses > plain.side_uses
    assert encode(network, picture(), AWGN, least, levels).side_uses == plain.side_uses
    with pytest.raises(UsageError, match="too low"):
        encode(network, picture(), AWGN, least * Fraction(99, 100), levels)


@pytest.mark.parametrize("channel", [ChannelState(1.0), ChannelState(13.0), ChannelState(10.0, "rayleigh")])
def test_no_information_passes_the_channel_by(channel: ChannelState) -> None:
    deviation, rate = 40.0, Fraction(1, 16)
    values = np.random.default_rng(0).normal(128.0, deviation, (128, 128, 3))
    noise = values.round().clip(0, 255).astype(np.uint8)
    signal = encode(network := load_network(), noise, channel, rate)
    arrived = decode(network, signal, carry(channel, signal.symbols, seeded()))
    # A Gaussian value of variance σ² that gets R bits has an error of at least σ² 2^(−2R) (Shannon 1959).
    bits = float(rate) * capacity_bits(channel)
    assert peak_signal_noise_ratio(noise, arrived) < 20 * np.log10(255 / deviation) + 20 * np.log10(2) * bits


@torch.no_grad()
def test_decoder_adapts_to_the_snr_of_each_position() -> None:
    network = tiny_network()
    source = network.source(torch.rand(2, 3, 64, 64, generator=seeded()))
    lengths, level = torch.full((2, 4, 4), 48), torch.full((2, 4, 4), 7.0)
    symbols = network.encode(source, level, lengths)
    faded = level.clone()
    faded[:, 0, 0] = -20.0
    whole, changed = (network.decode(symbols, source.statistics, snr_db, lengths) for snr_db in (level, faded))
    assert not torch.equal(whole[..., :16, :16], changed[..., :16, :16])


NOISY = ChannelState(4.0)
PERSON = slice(32, 96)


def textured() -> Image:
    """(128, 128, 3) of the demo clip."""
    frame = np.asarray(Pictures.open(io.BytesIO(demo_pictures(1)[0])))
    return np.ascontiguousarray(frame[150:278, 250:378])


def levels() -> ByteArray:
    found = np.zeros((8, 8), np.uint8)
    found[2:6, 2:6], found[2, 3] = 1, 2
    return found


def test_important_positions_get_more_symbols_and_less_error_at_the_same_rate() -> None:
    network, picture, rate = load_network(), textured(), Fraction(1, 24)
    quality_db, shares, side_uses = [], [], []
    for importance in (None, levels()):
        signal = encode(network, picture, NOISY, rate, importance)
        assert signal.bandwidth_ratio <= rate
        shares.append(float(signal.lengths[0, 2:6, 2:6].sum() / signal.lengths.sum()))
        side_uses.append(signal.side_uses)
        arrived = decode(network, signal, carry(NOISY, signal.symbols, seeded()))
        quality_db.append(peak_signal_noise_ratio(picture[PERSON, PERSON], arrived[PERSON, PERSON]))
    assert shares[1] > 1.5 * shares[0] and quality_db[1] > quality_db[0] + 0.5
    # The map is sent at capacity.
    assert side_uses[1] - side_uses[0] == pytest.approx(map_bits(levels()) / np.log2(1 + 10**0.4), abs=1.01)
