"""Systems that send pictures over the simulated channel."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch

from common.arrays import Image
from common.channel.deepjscc import DeepJscc, DeepJsccConfig
from common.channel.state import ChannelState
from common.channel.transmission import psnr_db
from tests.bench.channel.systems import CodedFile, Condition, RefinedChannel, TrainedBaseline, TrainedChannel
from tests.support.tiny_image_channel import tiny_network

SIXTEENTH = Fraction(1, 16)
AWGN = Condition(ChannelState(10.0), SIXTEENTH)


def picture() -> Image:
    coarse = np.random.default_rng(0).integers(40, 215, (12, 16, 3)).astype(np.float32)
    return cv2.resize(coarse, (128, 96), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", ["JPEG", "WEBP", "AVIF"])
def test_file_passes_at_capacity_and_gets_better_with_the_snr(name: str) -> None:
    errors = []
    for snr_db in (0.0, 6.0, 13.0):
        condition = Condition(ChannelState(snr_db), Fraction(1, 6))
        sent = CodedFile(name).send(picture(), condition, 0)
        assert sent is not None and sent.rate <= condition.rate
        errors.append(-psnr_db(sent.picture, picture()))
    assert errors == sorted(errors, reverse=True)


def test_mean_colour_where_no_file_fits() -> None:
    sent = CodedFile("JPEG").send(picture(), Condition(ChannelState(-20.0), Fraction(1, 64)), 0)
    assert sent is not None and sent.rate == 0.0
    assert (sent.picture == picture().mean((0, 1)).round()).all()


@pytest.mark.parametrize(
    "condition",
    [Condition(ChannelState(4.0), SIXTEENTH, 7.0), Condition(ChannelState(4.0, "rayleigh", pilots=2), SIXTEENTH)],
)
def test_capacity_is_of_a_known_channel_only(condition: Condition) -> None:
    assert CodedFile("JPEG").send(picture(), condition, 0) is None


def test_side_information_survives_a_channel_that_is_worse_than_believed() -> None:
    network = tiny_network()
    worse = TrainedChannel(network).send(picture(), Condition(ChannelState(4.0), SIXTEENTH, 7.0), 0)
    better = TrainedChannel(network).send(picture(), Condition(ChannelState(10.0), SIXTEENTH, 7.0), 0)
    assert worse is not None and better is not None
    assert worse.rate <= SIXTEENTH and better.rate <= SIXTEENTH
    assert not np.array_equal(worse.picture, better.picture)


def test_refined_symbols_know_one_rate_and_a_known_channel() -> None:
    system = RefinedChannel(tiny_network(), 2)
    sent = system.send(picture(), AWGN, 0)
    assert sent is not None and 0.9 * SIXTEENTH < sent.rate <= SIXTEENTH
    assert system.send(picture(), Condition(ChannelState(10.0), Fraction(1, 24)), 0) is None
    assert system.send(picture(), Condition(ChannelState(10.0), SIXTEENTH, 7.0), 0) is None
    assert system.send(picture(), Condition(ChannelState(10.0, "rayleigh"), SIXTEENTH), 0) is None


def test_baseline_gets_what_arrives_without_scaling() -> None:
    network = DeepJscc(DeepJsccConfig(width=4)).eval()
    with torch.no_grad():
        values = torch.from_numpy(picture().astype(np.float32)).permute(2, 0, 1)[None] / 255
        clean = network.decode(network.encode(values), (96, 128))
    sent = TrainedBaseline(network).send(picture(), Condition(ChannelState(60.0), SIXTEENTH), 0)
    assert sent is not None and sent.rate == pytest.approx(1 / 16)
    expected = (clean[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    assert np.abs(sent.picture.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    "condition", [Condition(ChannelState(10.0), Fraction(1, 12)), Condition(ChannelState(10.0, "erasure"), SIXTEENTH)]
)
def test_baseline_knows_one_rate_and_awgn_only(condition: Condition) -> None:
    assert TrainedBaseline(DeepJscc(DeepJsccConfig(width=4))).send(picture(), condition, 0) is None
