"""People whom the sender loses for a moment: how long they stay, how they move, and how they return."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest
import torch

from common.arrays import Float64Array, FloatArray
from common.body.label_space import LabelSpace
from common.body.model import BodyParameters
from common.codec.frame_codec import FrameCodec
from common.codec.frame_state import DecodedFrame
from common.codec.tables import UNIT, steps
from common.codec.tables import load as load_tables
from common.frames import LabelFrame, PersonLabels
from common.labels import FAST_GROUPS, GROUPS, LABEL_SIZE, concatenate, group_slices
from common.motion.label_track import Continued
from common.motion.steps import place_of
from common.synthetic.motion.poses import clips
from common.training.fit_codec import label_clip
from receiver.motion.session_motion import LabelSmoothing, PersonTrack, SessionMotion, SourceTimes, with_absent
from tests.support.motion.label_motion import FINE_RHO, MODEL_HASH, frame_of, person

ROOT = group_slices()["root"]


def at(space: LabelSpace, x_m: float) -> FloatArray:
    """Labels of somebody who stands 3 m before the camera, and so far to the right."""
    with torch.inference_mode():
        body = BodyParameters.rest(1)
        place = torch.tensor([[x_m, 0.0, 3.0]])
        return np.asarray(space.encode(replace(body, translation=place))[0].numpy(), np.float32)


def walk(space: LabelSpace, frames: int, speed_m_s: float = 0.6) -> list[LabelFrame]:
    """Somebody who walks to the right."""
    return [frame_of(number, person(at(space, -0.6 + speed_m_s * number / 30))) for number in range(frames)]


def without(frames: list[LabelFrame], first: int, last: int) -> list[LabelFrame]:
    """Nobody in some frames."""
    return [replace(each, people=()) if first <= each.sequence < last else each for each in frames]


def shown(frames: list[LabelFrame]) -> list[LabelFrame]:
    tracks = defaultdict[int, PersonTrack](lambda: PersonTrack(0.0))
    return [with_absent(frame, tracks, Continued()) for frame in frames]


def places(frames: list[LabelFrame]) -> Float64Array:
    return np.stack([place_of(concatenate(frame.people[0].labels)) for frame in frames])


def test_frames_with_everybody_stay_as_they_are(space: LabelSpace) -> None:
    given = walk(space, 20)
    assert [frame.people for frame in shown(given)] == [frame.people for frame in given]


def test_who_is_lost_goes_on_and_returns_without_a_jump(space: LabelSpace) -> None:
    given = walk(space, 90)
    after = shown(without(given, 40, 60))
    assert all(len(frame.people) == 1 for frame in after)
    steps = np.linalg.norm(np.diff(places(after), axis=0), axis=1)
    assert steps.max() < 0.07, "metres a frame; a jump would be 0.3 m"
    assert steps[40] > 0.3 * 0.6 / 30 > steps[57], "motion goes on, ever slower"
    assert np.allclose(places(after)[-1], places(given)[-1], atol=1e-6)


def test_less_and_less_is_known_of_who_is_lost(space: LabelSpace) -> None:
    given = [
        replace(each, people=(replace(each.people[0], confidence={"torso": 0.8}),)) for each in walk(space, 60, 0.0)
    ]
    people = [frame.people[0] for frame in shown(without(given, 40, 60))]
    known = np.array([[each.score, each.confidence["torso"]] for each in people[39:]])
    assert np.allclose(known[0], [0.9, 0.8]) and (np.diff(known, axis=0) < 0).all() and (known > 0).all()


def test_who_stays_away_is_gone_after_a_second(space: LabelSpace) -> None:
    counts = [len(frame.people) for frame in shown(without(walk(space, 120, 0.0), 60, 120))]
    assert all(counts[:88]) and not any(counts[91:])


def test_who_was_seen_for_a_moment_is_gone_after_one(space: LabelSpace) -> None:
    counts = [len(frame.people) for frame in shown(without(walk(space, 40, 0.0), 4, 40))]
    assert counts[5] == 1 and not any(counts[8:])


def test_who_leaves_the_picture_is_gone_at_once(space: LabelSpace) -> None:
    border = frame_of(0).camera.width / 2 / frame_of(0).camera.focal_px * 3
    given = [frame_of(n, person(at(space, border - 0.03 * (40 - n)))) for n in range(40)]
    assert [len(frame.people) for frame in shown(without([*given, *given[-1:]], 39, 41))][-2:] == [0, 0]


def test_who_returns_elsewhere_is_there_at_once(space: LabelSpace) -> None:
    there = at(space, -0.9)
    there[ROOT.start + 8] += 1.5
    given = [frame_of(n, person(at(space, 0.6) if n < 40 else there)) for n in range(60)]
    assert np.allclose(places(shown(without(given, 40, 50)))[50], place_of(there), atol=1e-6)


def test_who_is_there_under_another_identity_is_there_once(space: LabelSpace) -> None:
    labels, behind = at(space, 0.0), at(space, 0.0)
    behind[ROOT.start + 8] += 1.0
    first = [frame_of(n, person(labels, 0)) for n in range(40)]
    for other, people in ((labels, 1), (behind, 2)):
        after = [frame_of(n, person(other, 1)) for n in range(40, 45)]
        assert [len(frame.people) for frame in shown([*first, *after])][40:] == [people] * 5


@pytest.mark.parametrize("people", [32])
def test_frames_have_no_more_people_than_are_allowed(space: LabelSpace, people: int) -> None:
    labels = at(space, 0.0)
    first = [frame_of(n, *(person(labels, who) for who in range(people))) for n in range(20)]
    other = frame_of(20, *(person(labels, 100 + who) for who in range(people)))
    assert len(shown([*first, other])[-1].people) == people


@pytest.fixture(scope="module")
def smoothing_walk() -> FloatArray:
    """Labels of a captured walk of the validation split."""
    (clip,) = clips("val")
    return label_clip(LabelSpace.load(), clip, 0.0, np.random.default_rng(1))[:60]


def smoothing_without(frame: LabelFrame, lost: Collection[str]) -> LabelFrame:
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


def test_whole_frames_of_motion_are_shown_as_the_codec_decodes_them(smoothing_walk: FloatArray) -> None:
    link, same = Link(), []
    for number, row in enumerate(smoothing_walk[:20]):
        codec, smoothing_shown = link.send(frame_of(number, person(row)))
        step = load_tables().base_step / UNIT
        assert (np.abs(vector(smoothing_shown) - vector(codec)) <= 2 * step).all()
        same.append(np.mean(vector(smoothing_shown) == vector(codec)))
    assert np.mean(same[8:]) > 0.5


def test_a_person_at_rest_does_not_flicker(smoothing_walk: FloatArray) -> None:
    link, rng, moved = Link(), np.random.default_rng(4), []
    before: list[FloatArray] = []
    for number in range(60):
        noisy = smoothing_walk[0] + 0.2 * load_tables().base_step / UNIT * rng.standard_normal(LABEL_SIZE)
        now = [vector(each) for each in link.send(frame_of(number, person(noisy.astype(np.float32))))]
        if number > 10:
            moved.append([np.abs(a - b).mean() for a, b in zip(now, before, strict=True)])
        before = now
    by_codec, smoothing_shown = np.mean(moved, axis=0)
    assert smoothing_shown < 0.3 * by_codec


def test_groups_that_never_arrive_stay_unknown_and_lost_ones_are_the_codecs(
    smoothing_walk: FloatArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LabelSmoothing, "smooth", lambda _, captured_at, labels, levels, unseen: labels)
    for lost, since in ((FAST_GROUPS, 0), (["left_leg", "root"], 0), (["left_arm"], 5), (["root"], 3)):
        link = Link()
        for number, row in enumerate(smoothing_walk[:8]):
            codec, smoothing_shown = link.send(
                smoothing_without(frame_of(number, person(row)), lost if number >= since else [])
            )
            assert codec.frame.people[0].labels.keys() == smoothing_shown.frame.people[0].labels.keys(), lost
            np.testing.assert_array_equal(vector(smoothing_shown), vector(codec), err_msg=str(lost))
        assert since or not set(lost) & smoothing_shown.frame.people[0].labels.keys()


def test_people_are_smoothed_each_by_themselves(smoothing_walk: FloatArray) -> None:
    both, alone = Link(), Link()
    for number in range(12):
        first = person(smoothing_walk[0], 3)
        _, smoothing_shown = both.send(frame_of(number, person(smoothing_walk[-1 - number], 9), first))
        _, single = alone.send(frame_of(number, first))
    np.testing.assert_array_equal(
        concatenate(smoothing_shown.frame.people[1].labels), concatenate(single.frame.people[0].labels)
    )


def test_smoothing_begins_anew_with_a_key_frame(smoothing_walk: FloatArray) -> None:
    link, rng = Link(), np.random.default_rng(4)
    noise = 0.2 * load_tables().base_step / UNIT * rng.standard_normal((7, LABEL_SIZE))
    frames = [
        frame_of(number, person((smoothing_walk[0] + row).astype(np.float32))) for number, row in enumerate(noise)
    ]
    for frame in frames[:6]:
        codec, smoothing_shown = link.send(frame)
    assert (vector(smoothing_shown) != vector(codec)).any()
    link.encoder.reset()
    codec, smoothing_shown = link.send(frames[6])
    assert codec.reference is None
    np.testing.assert_array_equal(vector(smoothing_shown), vector(codec))


LEVELS = np.full(len(GROUPS), 6)
STEP = steps(load_tables().base_step, LEVELS) / UNIT
ARM, SURFACE = group_slices()["left_arm"], group_slices()["surface"]


def smoothing_shown(offsets: list[float], fps: float = 30.0) -> FloatArray:
    """(T, E) what is shown of labels that are all so many steps from 1."""
    person = LabelSmoothing()
    return np.stack(
        [
            person.smooth(number / fps, np.asarray(1 + offset * STEP, np.float32), LEVELS)
            for number, offset in enumerate(offsets)
        ]
    )


def test_two_values_a_step_apart_become_about_their_mean() -> None:
    found = smoothing_shown([0.0, 1.0] * 10)
    np.testing.assert_allclose(found[-1, ARM], 1 + 0.5 * STEP[ARM], atol=0.02 * STEP[ARM].max())
    assert (np.abs(found[-1, ARM] - found[-2, ARM]) < 0.03 * STEP[ARM]).all()


def test_slow_drift_is_followed() -> None:
    # A tenth of a step a frame, as the quantiser shows it.
    found = smoothing_shown([round(0.1 * number) for number in range(60)])
    late = (1 + 0.1 * np.arange(60)[:, None] * STEP[ARM] - found[:, ARM])[20:] / STEP[ARM]
    assert np.abs(late.mean()) < 0.15 and np.abs(late).max() < 0.65


def test_what_moves_by_more_than_its_step_does_not_lag() -> None:
    found = smoothing_shown([2.5 * number for number in range(12)])
    np.testing.assert_array_equal(found[-1], np.asarray(1 + 2.5 * 11 * STEP, np.float32))


def test_between_rest_and_motion_there_is_no_jump() -> None:
    # The window's range grows from 0 to 3 steps.
    last = [smoothing_shown([0.0] * 7 + [distance])[-1, ARM] for distance in np.linspace(0, 3, 61)]
    change = np.abs(np.diff(last, axis=0)) / STEP[ARM]
    assert change.max() < 0.2


def test_slow_groups_are_as_they_were_decoded() -> None:
    found = smoothing_shown([0.0, 1.0] * 4)
    np.testing.assert_array_equal(found[-1, SURFACE], np.asarray(1 + STEP[SURFACE], np.float32))


@pytest.mark.parametrize("fps", [1.0, -30.0])
def test_frames_that_are_long_past_or_of_the_future_do_not_count(fps: float) -> None:
    found = smoothing_shown([0.0, 1.0], fps)
    np.testing.assert_array_equal(found[-1], np.asarray(1 + STEP, np.float32))


def test_group_that_did_not_arrive_is_not_averaged() -> None:
    person, labels = LabelSmoothing(), np.zeros(LABEL_SIZE, np.float32)
    person.smooth(0.0, labels, LEVELS)
    moved = np.asarray(0.9 * STEP, np.float32)
    found = person.smooth(1 / 30, moved, np.zeros(len(GROUPS), np.int64))
    np.testing.assert_array_equal(found[ARM], moved[ARM])


@pytest.mark.parametrize("set_s", [259_200.0, -259_200.0, 31_536_000.0])
def test_times_go_on_where_a_senders_clock_was_set(
    smoothing_walk: FloatArray, set_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    link, smoothing_shown = Link(), []
    for number in range(6):
        frame = frame_of(number, person(smoothing_walk[number]))
        captured_at = 1.8e9 + 0.04 * number + set_s * (number >= 3)
        smoothing_shown.append((link.send(replace(frame, captured_at=captured_at))[1], captured_at))
    times_s = [decoded.frame.captured_at for decoded, _ in smoothing_shown]
    np.testing.assert_allclose(np.diff(times_s), 0.04, atol=2e-3)
    for decoded, captured_at in smoothing_shown:
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


def someone(identity: int = 0, **labels: float) -> PersonLabels:
    """Someone whose groups have one value each."""
    return PersonLabels(identity, 1.0, {name: np.full(4, value, np.float32) for name, value in labels.items()})


def test_groups_fade_once_they_are_not_seen() -> None:
    fading = LabelSmoothing()
    seen = someone(torso=1.0, eyes=2.0)
    assert fading.faded(seen, 10.0) is seen
    shown = [fading.faded(someone(torso=1.0), 10.0 + age_s).labels for age_s in (0.05, 0.1, 0.15, 0.21, 0.25)]
    assert [labels["eyes"][0] for labels in shown[:3]] == pytest.approx([1.5, 1.0, 0.5], abs=1e-5)
    assert all(set(labels) == {"torso"} for labels in shown[3:])


def test_late_frames_change_nothing() -> None:
    fading = LabelSmoothing()
    fading.faded(someone(eyes=2.0), 10.0)
    assert fading.faded(someone(torso=1.0), 9.9).labels.keys() == {"torso"}
    assert fading.faded(someone(torso=1.0), 10.1).labels["eyes"][0] == pytest.approx(1.0, abs=1e-5)
