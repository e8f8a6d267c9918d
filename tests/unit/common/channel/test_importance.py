"""Importance of positions: more symbols where it is high, paid for, and the same at both ends."""

import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pictures

from common.arrays import ByteArray, Image
from common.channel.importance import map_bits, weights_of
from common.channel.physical import carry
from common.channel.signal import Signal
from common.channel.state import ChannelState
from common.channel.transmission import Transmitter, decode, lengths_of, load_network, psnr_db
from tests.support.demo_clip import demo_pictures

AWGN = ChannelState(4.0)
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
    network, picture = load_network(), textured()
    transmitter = Transmitter(network, AWGN, Fraction(1, 24))
    quality_db, shares = [], []
    for importance in (None, levels()):
        signal = transmitter.encode(picture, importance)
        assert signal.rate() <= Fraction(1, 24)
        lengths = lengths_of(network, signal)
        assert int(lengths.sum()) == len(signal.symbols)
        shares.append(float(lengths[0, 2:6, 2:6].sum() / lengths.sum()))
        arrived = decode(network, signal, carry(AWGN, signal.symbols, torch.Generator().manual_seed(0)))
        quality_db.append(psnr_db(arrived[PERSON, PERSON], picture[PERSON, PERSON]))
    assert shares[1] > 1.5 * shares[0] and quality_db[1] > quality_db[0] + 0.5


def test_map_costs_channel_uses_and_comes_back_from_a_file(tmp_path: Path) -> None:
    transmitter = Transmitter(load_network(), AWGN, Fraction(1, 24))
    plain, signal = (transmitter.encode(textured(), each) for each in (None, levels()))
    assert signal.side_uses - plain.side_uses == pytest.approx(map_bits(levels()) / np.log2(1 + 10**0.4), abs=1.01)
    signal.write(tmp_path / "signal.npz")
    again = Signal.read(tmp_path / "signal.npz")
    assert again.importance is not None and np.array_equal(again.importance, levels())
    assert torch.equal(lengths_of(load_network(), again), lengths_of(load_network(), signal))
    plain.write(tmp_path / "plain.npz")
    assert Signal.read(tmp_path / "plain.npz").importance is None


def test_bits_are_few_for_regions_and_at_most_two_a_position_for_noise() -> None:
    noise = np.random.default_rng(0).integers(0, 3, (16, 16), np.uint8)
    assert map_bits(None) == 0.0
    assert map_bits(np.zeros((16, 16), np.uint8)) < 12
    assert map_bits(levels()) < 64 < 256 < map_bits(noise) < 2 * 256


@pytest.mark.parametrize("wrong", [np.full((2, 2), 3, np.uint8), np.zeros(4, np.uint8)])
def test_levels_that_do_not_exist_are_refused(wrong: ByteArray) -> None:
    with pytest.raises(ValueError, match="importance"):
        weights_of(wrong)


def test_wanted_quality_is_reached_with_fewer_symbols_on_a_better_channel() -> None:
    network, picture, uses = load_network(), textured(), []
    for snr_db in (1.0, 7.0, 13.0):
        channel = ChannelState(snr_db)
        signal = Transmitter(network, channel, Fraction(1, 6), quality_db=27.0).encode(picture)
        arrived = decode(network, signal, carry(channel, signal.symbols, torch.Generator().manual_seed(3)))
        assert psnr_db(arrived, picture) == pytest.approx(27.0, abs=0.8)
        uses.append(len(signal.symbols) + signal.side_uses)
    assert uses[2] < 0.8 * uses[1] < 0.5 * uses[0]


def test_quality_that_cannot_be_reached_takes_the_whole_rate() -> None:
    transmitter = Transmitter(load_network(), AWGN, Fraction(1, 24), quality_db=60.0)
    signal = transmitter.encode(textured())
    assert 0.95 / 24 < signal.rate() <= 1 / 24
