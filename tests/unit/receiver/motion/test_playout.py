"""Playout by a clock that the tests set: late, lost and doubled labels, corrections, rest, people who come and go."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from common.arrays import FloatArray
from common.clock import Clock
from common.codec.frame_state import DecodedFrame
from common.frames import LabelFrame
from common.labels import LABEL_SIZE, ROTATION_SCALE, concatenate
from common.motion.label_track import DampedExtrapolation, LabelTrack
from common.motion.steps import SLOW, between, moved
from receiver.config import PlayoutConfig
from receiver.link.refusals import SessionOwner
from receiver.link.session import SenderClock, Session
from receiver.motion.playout import CORRECTION_S, STILL_S, PlayoutBuffer
from tests.support.motion.label_motion import frame_of, person, with_rotation
from tests.support.receiver.kept_state import elements_within

T0 = 1_800_000_000.0
LAG_S = 0.06
OFFSET_S = 7.0  # the receiver's clock minus the sender's
KNOWN = SenderClock(OFFSET_S, 1e-3)


def at_rest() -> FloatArray:
    labels = np.zeros(LABEL_SIZE, np.float32)
    labels[[0, 4]] = 1 / ROTATION_SCALE
    return labels


def swaying(at_s: float) -> FloatArray:
    """A person who sways, turns and waves, two seconds long."""
    step = np.zeros(LABEL_SIZE)
    phase = 2 * np.pi * (at_s - T0) / 2.0
    step[:3], step[6:9] = np.sin(phase) * np.array([0.2, 0.8, 0.1]), np.sin(phase) * np.array([0.3, 0.05, 0.2])
    step[19:60] = np.sin(phase + np.linspace(0, 3, 41))
    return moved(at_rest(), step)


class Played:
    """A playout whose sender's clock is behind; `now_s` is the sender's."""

    def __init__(self, mode: Literal["live", "smooth", "off"] = "live", clock: SenderClock | None = KNOWN) -> None:
        self.now_s = T0
        self.playout = PlayoutBuffer(
            PlayoutConfig(mode), clock=Clock(lambda: self.now_s, lambda: self.now_s + OFFSET_S)
        )
        self.view = self.playout.view()
        self.link = Session(bytes(16), "test", live=True, owner=SessionOwner("", b""), account="test", clock=clock)
        self.playout.session_began(1, self.link)
        self.frames = 0

    def take(
        self,
        captured_s: float,
        labels: FloatArray,
        *identities: int,
        sequence: int | None = None,
        clock_set_s: float = 0.0,
        ahead_steps: int = 0,
    ) -> None:
        people = [person(labels, identity) for identity in identities or (0,)]
        self.frames += 1
        frame = frame_of(self.frames if sequence is None else sequence, *people)
        frame = replace(frame, captured_at=captured_s, ahead_steps=ahead_steps)
        self.playout.packet_decoded(1, [DecodedFrame(frame, None, {}, {}, clock_set_s)], b"", None)  # type: ignore[arg-type]

    def frame(self) -> LabelFrame:
        frame = self.view.frame(1)
        assert frame is not None
        return frame

    def labels(self) -> FloatArray:
        return concatenate(self.frame().people[0].labels)

    def play(
        self, seconds: float, rate: float, motion: Callable[[float], FloatArray] = swaying, hz: float = 240.0
    ) -> list[FloatArray]:
        """What is shown `hz` times a second, while labels come `rate` times a second."""
        begin_s, taken, shown = self.now_s, 0, []
        for tick in range(int(seconds * hz)):
            self.now_s = begin_s + tick / hz
            while begin_s + taken / rate + LAG_S <= self.now_s:
                self.take(begin_s + taken / rate, motion(begin_s + taken / rate))
                taken += 1
            if taken:
                shown.append(self.labels())
        return shown


def distances(rows: list[FloatArray], others: list[FloatArray]) -> list[float]:
    return [float(np.abs(between(one, other)).max()) for one, other in zip(rows, others, strict=True)]


def test_steps_lead_from_labels_to_labels() -> None:
    rng = np.random.default_rng(0)
    one, other = (with_rotation(row) for row in rng.normal(size=(2, LABEL_SIZE)).astype(np.float32))
    np.testing.assert_allclose(moved(one, between(one, other)), other, atol=1e-5)
    step = between(at_rest(), moved(at_rest(), np.r_[0.0, 0.5, 0.0, 0, 0, 0, 0.1, 0.2, 0.3, np.zeros(LABEL_SIZE - 9)]))
    np.testing.assert_allclose(step[:9], [0, 0.5, 0, 0, 0, 0, 0.1, 0.2, 0.3], atol=1e-6)


def test_extrapolation_turns_goes_on_and_keeps_who_it_is() -> None:
    speed = np.zeros(LABEL_SIZE)
    speed[1], speed[6], speed[SLOW] = 1.0, 0.5, 1.0
    rows = np.stack([moved(at_rest(), speed * at_s) for at_s in (0.0, 0.1)])
    ahead = DampedExtrapolation(tau_s=0.15).predict(LabelTrack(np.array([0.0, 0.1]), rows, 0.0), 10.1)
    step = between(rows[-1], ahead)
    np.testing.assert_allclose(step[[1, 6]], [0.15, 0.075], rtol=1e-4)
    np.testing.assert_array_equal(ahead[SLOW], rows[-1][SLOW])
    columns = ahead[:6].reshape(2, 3) * ROTATION_SCALE
    turned = Rotation.from_matrix(np.stack([*columns, np.cross(*columns)], axis=1)).as_rotvec()
    np.testing.assert_allclose(turned, [0, 0.25, 0], atol=1e-5)
    np.testing.assert_array_equal(DampedExtrapolation().predict(LabelTrack.begin(0.0, rows[0]), 9.0), rows[0])


def test_labels_ahead_are_shown_when_their_moment_comes() -> None:
    played = Played()
    for captured_s in (T0, T0 + 0.2):
        played.now_s = captured_s + LAG_S
        played.take(captured_s, swaying(captured_s + 0.15), ahead_steps=6)
        played.frame()
    played.now_s = T0 + 0.35
    assert np.abs(between(swaying(T0 + 0.35), played.labels())).max() < 0.01
    assert played.frame().captured_at == T0 + 0.35 and played.frame().ahead_steps == 0


def test_what_was_predicted_gives_way_to_what_was_seen_then() -> None:
    played = Played()
    played.now_s = T0 + LAG_S
    played.take(T0, at_rest())
    played.take(T0 + 0.1, moved(at_rest(), np.where(SLOW, 0.0, 0.5)), ahead_steps=12)
    played.now_s = T0 + 0.2 + LAG_S
    played.take(T0 + 0.2, at_rest())
    played.frame()
    played.now_s += 2 * CORRECTION_S
    assert np.abs(between(at_rest(), played.labels())).max() < 1e-3


@pytest.mark.parametrize("rate", [30, 5])
@pytest.mark.parametrize("mode", ["live", "smooth"])
def test_other_labels_change_neither_place_nor_speed_at_once(mode: Literal["live", "smooth"], rate: float) -> None:
    played, soon_s = Played(mode), 1e-4
    aside = np.where(SLOW, 0.0, 0.1)
    played.play(2.0, rate)
    for number in range(4):
        captured_s = T0 + 2.0 + number / rate
        shown = []
        for at_s in (-soon_s, 0.0, soon_s):
            played.now_s = captured_s + LAG_S + at_s
            shown.append(played.labels())
            if at_s == 0.0:
                # A step aside, as perception's errors are.
                played.take(captured_s, moved(swaying(captured_s), aside * (-1) ** number))
                shown.append(played.labels())
        before, at, with_others, after = shown
        assert distances([at], [with_others])[0] < 1e-4
        speeds = between(before, at) / soon_s, between(with_others, after) / soon_s
        # At once it would be thousands.
        np.testing.assert_allclose(*speeds, atol=1.0)
        assert np.abs(speeds).max() > 0.2


def test_live_is_nearer_to_the_present_than_the_newest_labels() -> None:
    played = Played()
    shown = played.play(4.0, 10, hz=60)
    truth = [swaying(T0 + 4.0 - (len(shown) - t) / 60) for t in range(len(shown))]
    newest = [swaying(np.floor((T0 + 4.0 - (len(shown) - t) / 60 - LAG_S) * 10) / 10) for t in range(len(shown))]
    assert np.mean(distances(shown[60:], truth[60:])) < 0.75 * np.mean(distances(newest[60:], truth[60:]))


def test_smooth_passes_through_labels_later() -> None:
    played = Played("smooth")
    played.play(4.0, 10)
    frame = played.frame()
    assert 0.14 < played.now_s - frame.captured_at < 0.18
    assert distances([concatenate(frame.people[0].labels)], [swaying(frame.captured_at)])[0] < 0.02


def test_what_is_not_heard_of_comes_to_rest() -> None:
    played = Played()
    played.play(2.0, 10)
    shown, captured_s = [], T0 + 1.9
    for tick in range(240):
        played.now_s = T0 + 2.0 + tick / 240
        shown.append(played.labels())
    steps = distances(shown[1:], shown[:-1])
    still = int((captured_s + STILL_S - T0 - 2.0) * 240) + 1
    assert max(steps[still:]) == 0 and steps[still // 2] < steps[0]
    assert played.frame() is played.frame()


def test_late_lost_and_doubled_labels_change_nothing_soon_after() -> None:
    arrivals = {number: (number,) for number in range(20)}
    # One comes late, one never, one twice.
    odd = arrivals | {7: (), 8: (8, 7), 11: (), 15: (15, 15)}
    shown = []
    for order in (arrivals, odd):
        played = Played()
        for tick, numbers in order.items():
            played.now_s = T0 + tick / 10 + LAG_S
            for number in numbers:
                played.take(T0 + number / 10, swaying(T0 + number / 10), sequence=number)
            played.labels()
        shown.append(played.labels())
    assert distances(shown[:1], shown[1:])[0] < 1e-6


@pytest.mark.parametrize(
    ("clock", "behind_s"),
    [
        (SenderClock(OFFSET_S, 1e-3), 0.0),
        (None, LAG_S),
        (SenderClock(3.0, 4.0), LAG_S),
        (SenderClock(99.0, 0.0), LAG_S),
    ],
    ids=["known", "unknown", "unsure", "impossible"],
)
def test_the_present_of_the_sender(clock: SenderClock | None, behind_s: float) -> None:
    played = Played(clock=clock)
    played.play(1.0, 30)
    assert played.now_s - played.frame().captured_at == pytest.approx(behind_s, abs=0.005)


def test_time_passes_evenly_when_the_clock_becomes_known() -> None:
    played = Played(clock=None)
    played.play(1.0, 30)
    played.link.clock = SenderClock(OFFSET_S, 1e-3)
    before_s = played.frame().captured_at
    played.now_s += 0.1
    assert 0.09 < played.frame().captured_at - before_s < 0.12
    played.now_s += 1.0
    played.take(played.now_s, swaying(played.now_s))
    assert played.frame().captured_at == pytest.approx(played.now_s)


def test_people_leave_and_an_identity_comes_back_as_somebody_else() -> None:
    played = Played()
    played.take(T0, at_rest(), 3, 5)
    assert [each.identity for each in played.frame().people] == [3, 5]
    played.now_s += 0.1
    one = played.view.frame(1, only=5)
    assert one is not None and [each.identity for each in one.people] == [5]
    played.take(T0 + 0.1, at_rest(), 5)
    assert [each.identity for each in played.frame().people] == [5]
    elsewhere = moved(at_rest(), np.r_[np.zeros(6), 1.0, 0, 1, np.zeros(LABEL_SIZE - 9)])
    played.now_s = T0 + 2.0
    played.take(T0 + 2.0, elsewhere, 3)
    np.testing.assert_allclose(played.labels(), elsewhere, atol=1e-6)
    moment = played.playout.moment(1)
    assert moment is not None and moment[1].keys() == {3}


def test_a_late_frame_brings_nobody_back() -> None:
    played = Played()
    for sequence, captured_s, identities in ((1, T0, (0, 1)), (3, T0 + 0.1, (0,)), (2, T0 + 0.05, (0, 1))):
        played.now_s = T0 + LAG_S + 0.1
        played.take(captured_s, at_rest(), *identities, sequence=sequence)
    frame = played.view.frame(1)
    assert frame is not None and [person.identity for person in frame.people] == [0]


def stepped_aside() -> tuple[Played, FloatArray]:
    """Somebody was displayed at `T0 + 0.5`, at which moment labels arrive that are 0.1 m beside, given second."""
    played = Played()
    played.take(T0, at_rest())
    played.now_s = T0 + 0.5
    played.labels()
    aside = moved(at_rest(), np.r_[np.zeros(6), 0.1, 0, 0, np.zeros(LABEL_SIZE - 9)])
    played.take(T0 + 0.5, aside)
    return played, aside


def test_the_first_picture_after_labels_arrived_shows_them_in_part() -> None:
    played, _ = stepped_aside()
    played.now_s += CORRECTION_S / 3
    assert 0.02 < between(at_rest(), played.labels())[6] < 0.06


def test_a_correction_ends_in_time() -> None:
    played, aside = stepped_aside()
    first = between(at_rest(), played.labels())[6]
    played.now_s += CORRECTION_S / 2
    middle = between(at_rest(), played.labels())[6]
    played.now_s += CORRECTION_S / 2
    assert first == pytest.approx(0, abs=1e-6) and 0.02 < middle < 0.1
    assert CORRECTION_S <= 0.1
    # The prediction goes on beyond the labels.
    assert between(aside, played.labels())[6] >= -1e-6


def test_only_live_cameras_are_played_out() -> None:
    changes: list[dict[str, Any]] = [{"live": False}, {"replayed": True}]
    for change in changes:
        played = Played()
        played.playout.session_ended(1)
        played.playout.session_began(1, replace(played.link, **change))
        played.take(T0, at_rest())
        assert played.view.frame(1) is None
    assert Played("off").view.frame(1) is None
    played = Played()
    played.take(T0, at_rest())
    played.frame()
    played.playout.session_ended(1)
    assert played.view.frame(1) is None


@pytest.mark.parametrize("compared", [True, False], ids=["compared", "not yet compared"])
@pytest.mark.parametrize("set_s", [31_536_000.0, -31_536_000.0])
def test_people_move_on_when_the_clock_of_a_sender_is_set(set_s: float, compared: bool) -> None:
    played, steady = Played(), Played()
    for each in (played, steady):
        each.play(1.0, 30)
    played.link.clock = SenderClock(OFFSET_S - set_s, 1e-3) if compared else KNOWN
    for number in range(20):
        for each in (played, steady):
            each.now_s = T0 + 1.0 + number / 30
            each.take(each.now_s - LAG_S, swaying(each.now_s - LAG_S), clock_set_s=set_s * (each is played))
        apart_s = played.frame().captured_at - steady.frame().captured_at
        # Until the clocks are compared again, the fastest frame counts as one that took no time.
        assert abs(apart_s) < (1e-4 if compared else LAG_S + 1e-4)


@pytest.mark.parametrize("mode", ["live", "smooth"])
@pytest.mark.parametrize(
    "captured_s",
    [
        pytest.param(lambda number: T0, id="still"),
        pytest.param(lambda number: T0 - number / 30, id="backwards"),
        pytest.param(lambda number: T0 + 1e-6 * number, id="creeping"),
        pytest.param(lambda number: T0 + number / 30 + 1e6 * (number % 2), id="leaping"),
        pytest.param(lambda number: T0 + (number % 7) / 30, id="to and fro"),
    ],
)
def test_what_is_kept_of_a_session_is_bounded_whatever_its_labels_say(
    captured_s: Callable[[int], float], mode: Literal["live", "smooth"]
) -> None:
    """Sequence numbers repeat, or go back, and identities are others in each frame."""
    played, sizes, labels = Played(mode), [], at_rest()
    for number in range(1200):
        played.now_s += 1 / 30
        played.take(captured_s(number), labels, number % 3, 3 + number % 4, sequence=number * 3 % 300)
        if number % 10 == 0:
            played.frame()
        if number % 600 == 599:
            sizes.append(elements_within(played.playout, played.view))
    assert sizes[1] <= 1.1 * sizes[0]
