"""Whether another live session has room: measured use against the engine's capacity."""

import contextlib

import pytest

from common.clock import Clock
from receiver.link.refusals import Refusal, StreamRefused
from receiver.link.session import LiveLoad


class Fixture:
    """A load whose clock and capacity the test sets."""

    def __init__(self, capacity: float | None) -> None:
        self.capacity, self.now_s = capacity, 100.0
        self.load = LiveLoad(lambda: self.capacity, Clock(lambda: self.now_s, lambda: 0.0))

    def stream(self, seconds: float, *sessions: bytes, people: int = 1, fps: float = 10.0) -> None:
        """Frames of all sessions for a time."""
        for _ in range(round(seconds * fps)):
            self.now_s += 1 / fps
            for session in sessions:
                self.load.received(session, people)


def begun(capacity: float | None, *sessions: bytes) -> Fixture:
    fixture = Fixture(capacity)
    for session in sessions:
        fixture.load.began(session)
    return fixture


def test_session_beyond_the_capacity_is_refused_with_the_figures() -> None:
    fixture = begun(25.0, b"a", b"b")
    fixture.stream(6, b"a", b"b")
    assert fixture.load.people_per_second == pytest.approx(20, rel=0.05)
    with pytest.raises(StreamRefused, match=r"full for now: 2 live sessions use 20\.\d of the 25\.0") as refused:
        fixture.load.admit()
    assert (refused.value.refusal, refused.value.code) == (Refusal.BUSY, "RESOURCE_EXHAUSTED")
    fixture.capacity = 40.0
    fixture.load.admit()


@pytest.mark.parametrize(
    ("capacity", "people", "refusal"),
    [
        (50.0, 1, ""),
        (50.0, 3, "full for now: 1 live session uses"),
        (None, 3, ""),
        (0.0, 1, "no replica"),
    ],
)
def test_capacity_is_one_of_people(capacity: float | None, people: int, refusal: str) -> None:
    fixture = begun(capacity, b"a")
    fixture.stream(6, b"a", people=people)
    with pytest.raises(StreamRefused, match=refusal) if refusal else contextlib.nullcontext():
        fixture.load.admit()


def test_sessions_that_begin_at_the_same_moment_do_not_all_find_room() -> None:
    fixture = begun(60.0)
    admitted = 0
    for number in range(10):
        try:
            fixture.load.admit()
        except StreamRefused:
            continue
        fixture.load.began(bytes([number]))
        admitted += 1
    assert admitted == 2
    fixture.stream(2.5, b"\0", b"\1", fps=4.0)
    fixture.load.admit()


def test_sessions_near_the_capacity_begin_a_few_at_a_time() -> None:
    fixture = begun(100.0, b"a", b"b", b"c")
    fixture.stream(6, b"a", b"b", b"c")
    for session in (b"d", b"e", b"f"):
        fixture.load.admit()
        fixture.load.began(session)
    with pytest.raises(StreamRefused, match="full for now: 3 live sessions have begun just now"):
        fixture.load.admit()
    fixture.stream(2.5, b"a", b"b", b"c", b"d", b"e", b"f")
    fixture.load.admit()


def test_nobody_is_admitted_while_frames_are_delayed() -> None:
    fixture = begun(100.0, b"a")
    fixture.stream(6, b"a")
    fixture.load.waited(delayed=True)
    with pytest.raises(StreamRefused, match="full for now: 100% of the frames of live sessions wait"):
        fixture.load.admit()
    fixture.stream(6, b"a")
    fixture.load.admit()
    fixture.load.waited(delayed=True)
    fixture.load.ended(b"a")
    fixture.load.admit()


def test_a_few_delayed_frames_among_many_refuse_nobody() -> None:
    fixture = begun(100.0, b"a")
    fixture.stream(6, b"a")
    for number in range(100):
        fixture.load.waited(delayed=number < 4)
    fixture.load.admit()
    for _ in range(2):
        fixture.load.waited(delayed=True)
    with pytest.raises(StreamRefused, match="6% of the frames"):
        fixture.load.admit()
