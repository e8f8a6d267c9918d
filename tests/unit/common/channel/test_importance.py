"""Importance of positions: more symbols where it is high, and paid for."""

import io
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image as Pictures
from skimage.metrics import peak_signal_noise_ratio

from common.arrays import ByteArray, Image
from common.channel.channel import carry
from common.channel.image_codec import decode, encode, load_network, map_bits
from common.channel.state import ChannelState
from tests.support.processes.demo_clip import demo_pictures

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
    network, picture, rate = load_network(), textured(), Fraction(1, 24)
    quality_db, shares, side_uses = [], [], []
    for importance in (None, levels()):
        signal = encode(network, picture, AWGN, rate, importance)
        assert signal.bandwidth_ratio <= rate
        shares.append(float(signal.lengths[0, 2:6, 2:6].sum() / signal.lengths.sum()))
        side_uses.append(signal.side_uses)
        arrived = decode(network, signal, carry(AWGN, signal.symbols, torch.Generator().manual_seed(0)))
        quality_db.append(peak_signal_noise_ratio(picture[PERSON, PERSON], arrived[PERSON, PERSON]))
    assert shares[1] > 1.5 * shares[0] and quality_db[1] > quality_db[0] + 0.5
    # The map is sent at capacity.
    assert side_uses[1] - side_uses[0] == pytest.approx(map_bits(levels()) / np.log2(1 + 10**0.4), abs=1.01)
