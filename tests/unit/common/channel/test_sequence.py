"""Sequences of pictures: earlier ones help where nothing moves, and do not where something does."""

import io
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image as Pictures

from common.arrays import Image
from common.channel.diffusion import load_decoder
from common.channel.model import ImageChannel
from common.channel.sequence import LatentFilter, SequenceReceiver
from common.channel.signal_blob import SignalBlob, Window
from common.channel.state import ChannelState
from common.channel.transmission import Transmitter, lengths_of, load_network, psnr_db
from common.errors import MalformedPacket
from tests.support.demo_clip import demo_pictures
from tests.support.tiny_image_channel import tiny_network

WINDOW = Window(1, 0, 0, 128, 128)
SEED = 5


@pytest.fixture(scope="module")
def network() -> ImageChannel:
    return load_network()


@pytest.fixture(scope="module")
def photograph() -> Image:
    """128 × 128 pixels of the demo clip."""
    frame = np.asarray(Pictures.open(io.BytesIO(demo_pictures(1)[0])))
    return np.ascontiguousarray(frame[150:278, 250:378])


def blob_of(network: ImageChannel, picture: Image, sequence: int, snr_db: float = 1.0) -> SignalBlob:
    channel = ChannelState(snr_db)
    signal = Transmitter(network, channel, Fraction(1, 16)).encode(picture)
    return SignalBlob(sequence, 0.0, WINDOW, channel, SEED, signal, lengths_of(network, signal))


def test_still_pictures_become_better(network: ImageChannel, photograph: Image) -> None:
    receiver, alone = SequenceReceiver(network), SequenceReceiver(network, sequence=False)
    gains_db = []
    for sequence in range(6):
        blob = blob_of(network, photograph, sequence)
        found = receiver.decode(blob)
        gains_db.append(psnr_db(found.image, photograph) - psnr_db(alone.decode(blob).image, photograph))
    assert gains_db[0] == 0.0
    assert min(gains_db[3:]) > 0.7
    assert found.earlier_share > 0.5


def test_other_pictures_are_as_good_as_alone(network: ImageChannel, photograph: Image) -> None:
    receiver, alone = SequenceReceiver(network), SequenceReceiver(network, sequence=False)
    for sequence in range(4):
        picture = np.ascontiguousarray(np.rot90(photograph, sequence))
        blob = blob_of(network, picture, sequence)
        loss_db = psnr_db(alone.decode(blob).image, picture) - psnr_db(receiver.decode(blob).image, picture)
        assert loss_db < 0.1


def test_another_window_has_no_earlier_pictures(network: ImageChannel, photograph: Image) -> None:
    receiver = SequenceReceiver(network)
    receiver.decode(blob_of(network, photograph, 0))
    assert receiver.decode(blob_of(network, photograph, 1)).earlier_share > 0.1
    moved = replace(blob_of(network, photograph, 2), window=replace(WINDOW, number=2))
    assert receiver.decode(moved).earlier_share == 0.0


def test_picture_of_another_network_is_refused(photograph: Image) -> None:
    blob = blob_of(tiny_network(), photograph, 0)
    hyper = torch.zeros(1, 5, *blob.signal.hyper_latents.shape[2:])
    with pytest.raises(MalformedPacket, match="another network"):
        SequenceReceiver(tiny_network()).decode(replace(blob, signal=replace(blob.signal, hyper_latents=hyper)))


def test_filter_averages_noise_away_and_follows_a_change_at_once() -> None:
    generator, found = torch.Generator().manual_seed(0), LatentFilter()
    shape = (1, 64, 8, 8)
    for _ in range(20):
        latents = found.update(torch.randn(shape, generator=generator), torch.ones(shape))
    assert float(latents.square().mean()) < 0.15
    changed = 10 + torch.randn(shape, generator=generator)
    assert torch.allclose(found.update(changed, torch.ones(shape)), changed, atol=0.05)
    other_size = torch.zeros(1, 64, 4, 4)
    assert torch.equal(found.update(other_size, torch.ones_like(other_size)), other_size)


def test_decoder_completes_the_plain_picture_the_same_each_time(network: ImageChannel, photograph: Image) -> None:
    blob, decoder = blob_of(network, photograph, 0), load_decoder()
    plain = SequenceReceiver(network).decode(blob).image
    completed, again = (SequenceReceiver(network, decoder).decode(blob).image for _ in range(2))
    assert np.array_equal(completed, again) and not np.array_equal(completed, plain)
    assert psnr_db(completed, photograph) == pytest.approx(psnr_db(plain, photograph), abs=0.3)
