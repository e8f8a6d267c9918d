"""The stage encodes the largest person beside the labels, at its own rate."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from common.blobs import SIGNAL
from common.channel.channel import SignalBlob
from common.channel.state import ChannelState
from common.frames import Camera
from sender import image_channel as stages
from sender.capture.source import CapturedFrame
from sender.image_channel import JsccStage
from sender.lookahead import Perceived
from sender.metrics import SenderMetrics
from sender.perception.crop import CropBox
from sender.perception.track import ObservedPerson, TrackedPerson
from tests.support.training.tiny_image_channel import tiny_network

_NO_OUTPUT: Any = None
LARGE = ObservedPerson(TrackedPerson(0), 0.9, CropBox(50, 20, 100, roll=0.3), _NO_OUTPUT)
SMALL = ObservedPerson(TrackedPerson(1), 0.9, CropBox(0, 0, 60), _NO_OUTPUT)
UNSURE = ObservedPerson(TrackedPerson(2), 0.4, CropBox(0, 0, 200), _NO_OUTPUT)


@pytest.fixture(autouse=True)
def without_perception(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "importance_of", lambda *_: None)


def stage(rate: Fraction = Fraction(1, 8)) -> JsccStage:
    return JsccStage(ChannelState(4.0), rate, SenderMetrics(), tiny_network())


def frame(number: int, time_s: float) -> CapturedFrame:
    image = np.random.default_rng(number).integers(0, 256, (160, 200, 3), np.uint8)
    return CapturedFrame(number, "clip.mp4", 1000.0 + time_s, time_s, image, Camera(200, 160, 80.0))


def pictures(made: JsccStage, frames: Sequence[CapturedFrame], *people: ObservedPerson) -> list[SignalBlob]:
    """What the stage makes of frames, each of which waits for the picture of the one before."""
    found = []
    for each in frames:
        for blob in made.update(Perceived(each, people, begins=False), ()):
            assert (blob.kind, blob.key) == (SIGNAL, 0)
            found.append(SignalBlob.decode(blob.data))
        if made._encoding is not None:
            made._encoding.result()
    made.close()
    return found


def test_largest_person_becomes_symbols_within_the_bandwidth_ratio() -> None:
    (found,) = pictures(stage(), [frame(5, 0.0), frame(6, 0.1)], SMALL, UNSURE, LARGE)
    assert (found.sequence, found.captured_at, found.window) == (5, 1000.0, (50, 20, 100))
    assert found.channel.snr_db == 4.0 and found.signal.size == (256, 256)
    assert 1 / 16 < found.signal.bandwidth_ratio <= 1 / 8


def test_a_frame_is_taken_every_fifth_of_a_second_if_somebody_is_in_it() -> None:
    frames = [frame(number, number / 30) for number in range(14)]
    assert [each.sequence for each in pictures(stage(), frames, LARGE)] == [0, 6, 12]
    assert pictures(stage(), frames, UNSURE) == []


def test_picture_that_does_not_fit_is_left_out() -> None:
    made = stage(Fraction(1, 191))
    assert pictures(made, [frame(0, 0.0), frame(1, 0.1)], LARGE) == []
    failed = {"fate": "failed"}
    assert made._metrics.registry.get_sample_value("bodywire_sender_channel_pictures_total", failed) == 1


def test_people_in_the_window_get_more_symbols(monkeypatch: pytest.MonkeyPatch) -> None:
    upper = np.zeros((16, 16), np.uint8)
    upper[:8] = 1
    shares = []
    for importance in (None, upper):
        monkeypatch.setattr(stages, "importance_of", lambda *_, found=importance: found)
        (found,) = pictures(stage(Fraction(1, 16)), [frame(5, 0.0), frame(6, 0.1)], LARGE)
        lengths = found.signal.lengths
        shares.append(float(lengths[0, :8].sum() / lengths.sum()))
    assert shares[1] > shares[0] + 0.03
