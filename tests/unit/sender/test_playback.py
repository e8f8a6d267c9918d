"""Frames get their numbers in the session and their times, and a reader that waits can be stopped."""

import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from common.clock import Clock
from common.frames import Camera
from sender.capture.source import CapturedFrame
from sender.metrics import SenderMetrics
from sender.playback import Playback

CLOCK = Clock(monotonic=lambda: 50.0, wall=lambda: 2000.0)


@dataclass
class FakeSource:
    """Frames at the times that `fps` gives them, or half a second apart."""

    live: bool = False
    ends: bool = True
    stills: bool = False
    brief: bool = False
    fps: float | None = 2.0
    length: int = 3
    closed: int = 0

    def __iter__(self) -> Iterator[CapturedFrame]:
        for number in range(self.length):
            image, camera = np.zeros((8, 8, 3), np.uint8), Camera(8, 8, 10.0)
            yield CapturedFrame(number, f"{number}.jpg", 1000.0 + number, number / (self.fps or 2.0), image, camera)

    def close(self) -> None:
        self.closed += 1


def playback(source: FakeSource, **options: object) -> Playback:
    return Playback(source, SenderMetrics(), **options)  # type: ignore[arg-type]


def read_all(played: Playback) -> list[CapturedFrame]:
    return list(iter(played.read, None))


@pytest.mark.parametrize(
    ("source", "numbers", "names"),
    [
        (FakeSource(), [2], ["2.jpg"]),
        (FakeSource(stills=True), [2], ["2.jpg"]),
        (FakeSource(stills=True, ends=False), [2, 3, 4], ["0.jpg", "1.jpg", "2.jpg"]),
        (FakeSource(live=True, ends=False), [2, 3, 4], ["0.jpg", "1.jpg", "2.jpg"]),
    ],
    ids=["file", "images", "socket", "live"],
)
def test_numbers_of_a_resumed_session(source: FakeSource, numbers: list[int], names: list[str]) -> None:
    """Only the frames of a file come again; sequence numbers of earlier runs belong to other pictures."""
    played = playback(source, first_sequence=2)
    assert played.finished == (not source.ends)
    frames = read_all(played)
    assert [frame.sequence for frame in frames] == numbers and [frame.source for frame in frames] == names
    assert played.finished


@pytest.mark.parametrize("realtime", [False, True])
def test_frames_of_a_video_have_its_times_from_the_first_one_on(realtime: bool) -> None:
    """However long the networks take for the first one, and all others for reading."""
    seconds = itertools.count(2000.0, 7.0)
    played = playback(FakeSource(), realtime=realtime, clock=Clock(lambda: next(seconds), lambda: next(seconds)))
    first, *others = read_all(played)
    assert [frame.captured_at - first.captured_at for frame in others] == [0.5, 1.0]


@pytest.mark.parametrize(("skips_late", "names"), [(False, ["0.jpg", "1.jpg", "2.jpg"]), (True, ["0.jpg", "2.jpg"])])
def test_late_frames_are_left_out_where_only_the_newest_count(skips_late: bool, names: list[str]) -> None:
    """The second one is due after half a second, the third after a whole one, when the networks are done."""
    now_s = itertools.chain([0.0, 0.0], itertools.repeat(1.2))
    clock = Clock(lambda: next(now_s), lambda: 2000.0)
    frames = read_all(playback(FakeSource(), realtime=True, skips_late=skips_late, clock=clock))
    assert [frame.source for frame in frames] == names
    assert [frame.sequence for frame in frames] == list(range(len(names)))
    assert [frame.is_late for frame in frames] == [frame.source == "2.jpg" and skips_late for frame in frames]
    assert frames[-1].captured_at == 2001.0


def test_video_that_is_read_too_slowly_goes_on_in_slow_motion() -> None:
    seconds = itertools.count(0.0, 0.05)
    source = FakeSource(length=600, fps=30.0)
    clock = Clock(lambda: next(seconds), lambda: 2000.0)
    frames = read_all(playback(source, realtime=True, skips_late=True, clock=clock))
    assert len(frames) > 30
    assert max(later.media_time_s - one.media_time_s for one, later in itertools.pairwise(frames)) < 1.0


def test_resumed_video_goes_on_from_now() -> None:
    assert [frame.captured_at for frame in read_all(playback(FakeSource(), first_sequence=2, clock=CLOCK))] == [2000.0]


def test_pictures_and_live_frames_have_the_time_of_the_clock() -> None:
    for source in (FakeSource(stills=True, fps=None), FakeSource(live=True, ends=False, fps=None)):
        times = [frame.captured_at for frame in read_all(playback(source, realtime=True, clock=CLOCK))]
        assert times == [1000.0, 1001.0, 1002.0]


def test_close_ends_the_wait_for_a_frame_that_is_not_due() -> None:
    now_s = iter((0.0, 0.0, -60.0))
    played = playback(FakeSource(), realtime=True, clock=Clock(monotonic=lambda: next(now_s), wall=lambda: 2000.0))
    played.read()
    began_s = time.monotonic()
    closing = threading.Timer(0.05, played.close)
    closing.start()
    played.read()
    closing.join()
    assert time.monotonic() - began_s < 30


def test_source_that_is_closed_is_not_read_to_its_end() -> None:
    source = FakeSource()
    played = playback(source)
    played.read()
    played.close()
    read_all(played)
    assert source.closed == 1 and not played.finished
