"""The bench of the image channel: conditions, the check against Shannon's bound, and its charts."""

from fractions import Fraction

import numpy as np
import pytest

from common.arrays import Image
from common.channel.state import ChannelState
from common.channel.transmission import psnr_db
from common.errors import BodywireError
from tests.bench.channel.__main__ import (
    SNRS_DB,
    check_bound,
    conditions,
    measure,
    noise_bound_db,
    noise_picture,
    panels,
)
from tests.bench.channel.systems import Condition, Sent, TrainedChannel
from tests.support.tiny_image_channel import tiny_network


class Telepath:
    """Sends everything for nothing."""

    def send(self, picture: Image, condition: Condition, seed: int) -> Sent | None:
        return Sent(picture, 0.0)


class Spendthrift:
    """Uses twice its budget."""

    def send(self, picture: Image, condition: Condition, seed: int) -> Sent | None:
        return Sent(picture, 2 * float(condition.rate))


def test_bound_is_that_of_a_gaussian_source() -> None:
    # 13 dB: capacity log₂(1 + 19.95) = 4.39 bits a use, 1/16 use a value: 6.02 dB a bit.
    bound = noise_bound_db(Condition(ChannelState(13.0), Fraction(1, 16)))
    grey = psnr_db(np.full((256, 256, 3), 128, np.uint8), noise_picture(0))
    assert bound == pytest.approx(grey + 4.39 / 16 * 6.02, abs=0.05)


def test_channel_keeps_shannons_bound() -> None:
    assert check_bound({"tiny": TrainedChannel(tiny_network())}, seed=0)["tiny"] > 0


def test_information_past_the_channel_is_found() -> None:
    with pytest.raises(BodywireError, match=r"passes the channel: telepath"):
        check_bound({"telepath": Telepath()}, seed=0)


def test_exceeded_budget_is_found() -> None:
    with pytest.raises(AssertionError, match="exceeds the budget"):
        measure({"spendthrift": Spendthrift()}, [noise_picture(0)], seed=0)


def test_every_condition_is_measured_and_drawn() -> None:
    figures = measure({"telepath": Telepath()}, [noise_picture(0)], seed=0)
    assert len(figures["telepath"]) == 2 * len(conditions())
    assert figures["telepath"]["ms_ssim_7db"] == pytest.approx(1.0)
    for panel in panels(figures):
        assert panel.lines["telepath"].x.tolist() == list(SNRS_DB)


def test_perceptual_distances_are_measured_on_plain_channels() -> None:
    figures = measure({"telepath": Telepath()}, [noise_picture(0)], seed=0, perceptual={"constant": lambda a, b: 0.5})
    measured = {key for key in figures["telepath"] if key.startswith("constant_")}
    assert measured == {f"constant_{snr}db" for snr in SNRS_DB} | {
        f"constant_{snr}db_at_1_{rate}" for snr in (1, 10) for rate in (12, 24)
    }
    assert figures["telepath"]["constant_7db"] == 0.5
