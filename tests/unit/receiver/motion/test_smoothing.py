"""Packets to labels that do not flicker."""

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest

from common.arrays import FloatArray
from common.body.label_space import LabelSpace
from common.codec.frame_codec import FrameCodec
from common.codec.frame_state import DecodedFrame
from common.codec.tables import UNIT, steps
from common.codec.tables import load as load_tables
from common.frames import LabelFrame
from common.labels import FAST_GROUPS, GROUPS, LABEL_SIZE, concatenate, group_slices
from common.synthetic.motion.poses import clips
from common.training.fit_codec import label_clip
from receiver.motion.session_motion import LabelSmoothing, SessionMotion, SourceTimes
from tests.support.motion.label_motion import FINE_RHO, MODEL_HASH, frame_of, person


@pytest.fixture(scope="module")
def walk() -> FloatArray:
    """Labels of a captured walk of the validation split."""
    (clip,) = clips("val")
    return label_clip(LabelSpace.load(), clip, 0.0, np.random.default_rng(1))[:60]


def without(frame: LabelFrame, lost: Collection[str]) -> LabelFrame:
    people = [
        replace(each, labels={name: values for name, values in each.labels.items() if name not in lost})
        for each in frame.people
    ]
    return replace(frame, people=tuple(people))


class Link:
    """An encoder, and behind it the codec alone and the smoothing of a session."""

    def __init__(self) -> None:
        self.encoder, self.codec = FrameCodec(MODEL_HASH), FrameCodec(MODEL_HASH)
        self.motion = SessionMotion()

    def send(self, frame: LabelFrame) -> tuple[DecodedFrame, DecodedFrame]:
        """What the codec decodes of a frame, and what is shown of it."""
        self.encoder.acknowledge(frame.sequence - 2)
        decoded = self.codec.decode(self.encoder.encode(frame, FINE_RHO).payload, frame.sequence)
        return decoded, self.motion.smooth(decoded)


def vector(decoded: DecodedFrame) -> FloatArray:
    return concatenate(decoded.frame.people[0].labels)


def test_whole_frames_of_motion_are_shown_as_the_codec_decodes_them(walk: FloatArray) -> None:
    link, same = Link(), []
    for number, row in enumerate(walk[:20]):
        codec, shown = link.send(frame_of(number, person(row)))
        step = load_tables().base_step / UNIT
        assert (np.abs(vector(shown) - vector(codec)) <= 2 * step).all()
        same.append(np.mean(vector(shown) == vector(codec)))
    assert np.mean(same[8:]) > 0.5


def test_a_person_at_rest_does_not_flicker(walk: FloatArray) -> None:
    link, rng, moved = Link(), np.random.default_rng(4), []
    before: list[FloatArray] = []
    for number in range(60):
        noisy = walk[0] + 0.2 * load_tables().base_step / UNIT * rng.standard_normal(LABEL_SIZE)
        now = [vector(each) for each in link.send(frame_of(number, person(noisy.astype(np.float32))))]
        if number > 10:
            moved.append([np.abs(a - b).mean() for a, b in zip(now, before, strict=True)])
        before = now
    by_codec, shown = np.mean(moved, axis=0)
    assert shown < 0.3 * by_codec


def test_groups_that_never_arrive_stay_unknown_and_lost_ones_are_the_codecs(
    walk: FloatArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LabelSmoothing, "smooth", lambda _, captured_at, labels, levels, unseen: labels)
    for lost, since in ((FAST_GROUPS, 0), (["left_leg", "root"], 0), (["left_arm"], 5), (["root"], 3)):
        link = Link()
        for number, row in enumerate(walk[:8]):
            codec, shown = link.send(without(frame_of(number, person(row)), lost if number >= since else []))
            assert codec.frame.people[0].labels.keys() == shown.frame.people[0].labels.keys(), lost
            np.testing.assert_array_equal(vector(shown), vector(codec), err_msg=str(lost))
        assert since or not set(lost) & shown.frame.people[0].labels.keys()


def test_people_are_smoothed_each_by_themselves(walk: FloatArray) -> None:
    both, alone = Link(), Link()
    for number in range(12):
        first = person(walk[0], 3)
        _, shown = both.send(frame_of(number, person(walk[-1 - number], 9), first))
        _, single = alone.send(frame_of(number, first))
    np.testing.assert_array_equal(concatenate(shown.frame.people[1].labels), concatenate(single.frame.people[0].labels))


def test_smoothing_begins_anew_with_a_key_frame(walk: FloatArray) -> None:
    link, rng = Link(), np.random.default_rng(4)
    noise = 0.2 * load_tables().base_step / UNIT * rng.standard_normal((7, LABEL_SIZE))
    frames = [frame_of(number, person((walk[0] + row).astype(np.float32))) for number, row in enumerate(noise)]
    for frame in frames[:6]:
        codec, shown = link.send(frame)
    assert (vector(shown) != vector(codec)).any()
    link.encoder.reset()
    codec, shown = link.send(frames[6])
    assert codec.reference is None
    np.testing.assert_array_equal(vector(shown), vector(codec))


LEVELS = np.full(len(GROUPS), 6)
STEP = steps(load_tables().base_step, LEVELS) / UNIT
ARM, SURFACE = group_slices()["left_arm"], group_slices()["surface"]


def shown(offsets: list[float], fps: float = 30.0) -> FloatArray:
    """(T, E) what is shown of labels that are all so many steps from 1."""
    person = LabelSmoothing()
    return np.stack(
        [
            person.smooth(number / fps, np.asarray(1 + offset * STEP, np.float32), LEVELS)
            for number, offset in enumerate(offsets)
        ]
    )


def test_two_values_a_step_apart_become_about_their_mean() -> None:
    found = shown([0.0, 1.0] * 10)
    np.testing.assert_allclose(found[-1, ARM], 1 + 0.5 * STEP[ARM], atol=0.02 * STEP[ARM].max())
    assert (np.abs(found[-1, ARM] - found[-2, ARM]) < 0.03 * STEP[ARM]).all()


def test_slow_drift_is_followed() -> None:
    # A tenth of a step a frame, as the quantiser shows it.
    found = shown([round(0.1 * number) for number in range(60)])
    late = (1 + 0.1 * np.arange(60)[:, None] * STEP[ARM] - found[:, ARM])[20:] / STEP[ARM]
    assert np.abs(late.mean()) < 0.15 and np.abs(late).max() < 0.65


def test_what_moves_by_more_than_its_step_does_not_lag() -> None:
    found = shown([2.5 * number for number in range(12)])
    np.testing.assert_array_equal(found[-1], np.asarray(1 + 2.5 * 11 * STEP, np.float32))


def test_between_rest_and_motion_there_is_no_jump() -> None:
    # The window's range grows from 0 to 3 steps.
    last = [shown([0.0] * 7 + [distance])[-1, ARM] for distance in np.linspace(0, 3, 61)]
    change = np.abs(np.diff(last, axis=0)) / STEP[ARM]
    assert change.max() < 0.2


def test_slow_groups_are_as_they_were_decoded() -> None:
    found = shown([0.0, 1.0] * 4)
    np.testing.assert_array_equal(found[-1, SURFACE], np.asarray(1 + STEP[SURFACE], np.float32))


@pytest.mark.parametrize("fps", [1.0, -30.0])
def test_frames_that_are_long_past_or_of_the_future_do_not_count(fps: float) -> None:
    found = shown([0.0, 1.0], fps)
    np.testing.assert_array_equal(found[-1], np.asarray(1 + STEP, np.float32))


def test_group_that_did_not_arrive_is_not_averaged() -> None:
    person, labels = LabelSmoothing(), np.zeros(LABEL_SIZE, np.float32)
    person.smooth(0.0, labels, LEVELS)
    moved = np.asarray(0.9 * STEP, np.float32)
    found = person.smooth(1 / 30, moved, np.zeros(len(GROUPS), np.int64))
    np.testing.assert_array_equal(found[ARM], moved[ARM])


@pytest.mark.parametrize("set_s", [259_200.0, -259_200.0, 31_536_000.0])
def test_times_go_on_where_a_senders_clock_was_set(
    walk: FloatArray, set_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    link, shown = Link(), []
    for number in range(6):
        frame = frame_of(number, person(walk[number]))
        captured_at = 1.8e9 + 0.04 * number + set_s * (number >= 3)
        shown.append((link.send(replace(frame, captured_at=captured_at))[1], captured_at))
    times_s = [decoded.frame.captured_at for decoded, _ in shown]
    np.testing.assert_allclose(np.diff(times_s), 0.04, atol=2e-3)
    for decoded, captured_at in shown:
        assert decoded.frame.captured_at + decoded.clock_set_s == pytest.approx(captured_at, abs=2e-3)
    (record,) = caplog.records
    assert f"set by {set_s:+.0f} s at frame 3" in record.getMessage()


def test_times_of_late_frames_and_of_other_sources_are_their_own() -> None:
    def bridged(sequence: int, captured_at: float, source: str = "camera 0") -> float:
        frame = replace(frame_of(sequence), captured_at=captured_at, source=source)
        return times.bridged(DecodedFrame(frame, None, {}, {})).frame.captured_at

    times = SourceTimes()
    told = [(1, 1e9), (3, 1e9 + 0.2), (2, 1e9 + 0.1), (4, 2e9 + 0.3), (5, 2e9 + 0.5)]
    expected = [1e9, 1e9 + 0.2, 1e9 + 0.1, 1e9 + 0.4, 1e9 + 0.6]
    assert [bridged(*each) for each in told] == pytest.approx(expected, abs=1e-5)
    assert [bridged(6, 5e8, "a.jpg"), bridged(7, 4e8, "b.jpg")] == [5e8, 4e8]
