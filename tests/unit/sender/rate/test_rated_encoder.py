"""Labels as they are predicted for later, from all frames of a source."""

from concurrent.futures import Future
from dataclasses import replace

import numpy as np

from common.arrays import FloatArray
from common.frames import AHEAD_STEP_S, LabelFrame
from common.labels import FAST_GROUPS, LABEL_SIZE, concatenate, group_slices
from common.motion.label_track import LabelTrack, MotionPredictor
from sender.rate.rated_encoder import LabelsAhead
from tests.support.motion.label_motion import frame_of, person, with_rotation

T0, HZ = 1_800_000_000.0, 40.0
ARM = group_slices()["left_arm"]


class Steady:
    """Everything goes on as it has moved since the first labels."""

    def predict(self, track: LabelTrack, at_s: float) -> FloatArray:
        times_s, labels = track.times_s, track.labels
        share = (at_s - times_s[-1]) / (times_s[-1] - times_s[0])
        return np.asarray(labels[-1] + share * (labels[-1] - labels[0]), np.float32)


def loaded() -> "Future[MotionPredictor]":
    future = Future[MotionPredictor]()
    future.set_result(Steady())
    return future


def captured(number: int) -> LabelFrame:
    """A frame of somebody whose arm moves evenly."""
    vector = with_rotation(np.zeros(LABEL_SIZE, np.float32))
    vector[ARM], vector[group_slices()["shape"]] = number / HZ, 0.1 * number
    return replace(frame_of(number, person(vector, 3)), captured_at=T0 + number / HZ)


def arm_of(frame: LabelFrame) -> float:
    """The entries of the arm, which are equal."""
    entries = concatenate(frame.people[0].labels)[ARM]
    assert np.ptp(entries) < 1e-5
    return float(entries[0])


def test_labels_are_those_of_the_moment_that_they_describe() -> None:
    predictor = Future[MotionPredictor]()
    ahead, frames = LabelsAhead(lambda: predictor), [captured(number) for number in range(9)]
    for frame in frames:
        ahead.offered(frame)
    assert ahead.of(frames[-1], 4) is frames[-1], "the predictor is not loaded yet"
    predictor.set_result(Steady())
    assert ahead.of(frames[-1], 0) is frames[-1]
    predicted, known = ahead.of(frames[-1], 4), ahead.of(frames[2], 4)
    for found in (predicted, known):
        assert found.describes_s == found.captured_at + 4 * AHEAD_STEP_S
        assert abs(arm_of(found) - (found.describes_s - T0)) < 1e-4
    before, after = frames[-1].people[0].labels, predicted.people[0].labels
    slow = [name for name in before if name not in FAST_GROUPS]
    assert slow and all(after[name] is before[name] for name in slow), "who it is does not change with the moment"


def test_the_predictor_is_loaded_once_and_only_where_labels_are_wanted_ahead() -> None:
    loads = list[Future[MotionPredictor]]()

    def load() -> "Future[MotionPredictor]":
        loads.append(Future())
        return loads[-1]

    ahead = LabelsAhead(load)
    ahead.of(captured(0), 5)
    assert not loads, "a session of a file offers no live frames"
    for number in range(5):
        ahead.offered(captured(number))
        ahead.of(captured(number), 5 if number > 2 else 0)
    assert len(loads) == 1
