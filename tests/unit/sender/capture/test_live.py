import logging
import queue
import threading

import numpy as np
import pytest

from common.arrays import Image
from common.clock import Clock
from common.errors import SourceError
from sender.capture.live import LeastDelay, LiveSource
from sender.metrics import SenderMetrics


class ScriptedReader:
    """A camera that delivers the frames of `script` one by one; an exception in it is raised."""

    def __init__(self) -> None:
        self.script: queue.Queue[tuple[Image, float | None] | BaseException] = queue.Queue()
        self.time_s: float | None = None
        self.waiting = threading.Semaphore(0)
        self.closed = threading.Event()

    def read(self) -> Image:
        # Released on entry, when the source already has the frame before.
        self.waiting.release()
        item = self.script.get(timeout=10)
        if isinstance(item, BaseException):
            raise item
        image, self.time_s = item
        return image

    def close(self) -> None:
        self.closed.set()

    def deliver(self, *values: int, time_s: float | None = None) -> None:
        for value in values:
            self.script.put((np.full((4, 6, 3), value, np.uint8), time_s))

    def lose(self) -> None:
        self.script.put(SourceError("unplugged"))

    def await_reads(self, count: int) -> None:
        for _ in range(count):
            assert self.waiting.acquire(timeout=10)


def sample(metrics: SenderMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_newest_frame_is_kept_and_replaced_ones_are_counted() -> None:
    reader, metrics = ScriptedReader(), SenderMetrics()
    clock = Clock(monotonic=iter(range(100)).__next__, wall=lambda: 7.0)
    with LiveSource("camera 0", lambda: reader, metrics=metrics, clock=clock) as source:
        assert source.live
        reader.deliver(1, 2, 3)
        reader.await_reads(4)
        frames = iter(source)
        newest = next(frames)
        assert (newest.sequence, newest.source, newest.captured_at) == (0, "camera 0", 7.0)
        assert (newest.image == 3).all()
        assert newest.media_time_s == 3.0 and newest.is_late
        assert newest.camera.width == 6
        assert newest.camera.focal_px == pytest.approx(7.2)
        assert sample(metrics, "bodywire_sender_frames_total", fate="replaced") == 2
        assert metrics.take_camera_frames() == 3 and metrics.take_camera_frames() == 0
        reader.deliver(4)
        second = next(frames)
        assert (second.sequence, int(second.image[0, 0, 0])) == (1, 4) and not second.is_late
        reader.lose()
    assert reader.closed.is_set()
    assert sample(metrics, "bodywire_sender_camera_up") == 0


def test_lost_camera_is_logged_shown_and_reopened(caplog: pytest.LogCaptureFixture) -> None:
    first, second, metrics = ScriptedReader(), ScriptedReader(), SenderMetrics()
    gauges: list[float | None] = []

    def opened() -> ScriptedReader:
        gauges.append(sample(metrics, "bodywire_sender_camera_up"))
        if len(gauges) == 1:
            return first
        if len(gauges) < 4:
            raise SourceError("still unplugged")
        return second

    with caplog.at_level(logging.INFO), LiveSource("camera 0", opened, metrics=metrics, backoff_s=(0.0,)) as source:
        frames = iter(source)
        first.deliver(1)
        assert (next(frames).image == 1).all()
        first.lose()
        second.deliver(2)
        after = next(frames)
        assert (after.sequence, int(after.image[0, 0, 0])) == (1, 2)
        assert first.closed.is_set()
        assert sample(metrics, "bodywire_sender_camera_up") == 1
        second.lose()
        assert second.closed.wait(timeout=10)
    # The first value is from before the first opening; the others are from the attempts to reopen.
    assert gauges[1:4] == [0.0, 0.0, 0.0]
    assert "camera 0 is lost: unplugged" in caplog.text
    assert "camera 0 is back after 3 attempts" in caplog.text


def test_camera_that_is_missing_at_first_is_looked_for(caplog: pytest.LogCaptureFixture) -> None:
    reader, metrics, attempts = ScriptedReader(), SenderMetrics(), list[float | None]()

    def opened() -> ScriptedReader:
        attempts.append(sample(metrics, "bodywire_sender_camera_up"))
        if len(attempts) < 3:
            raise SourceError("not plugged in")
        return reader

    with LiveSource("camera 0", opened, metrics=metrics, backoff_s=(0.0,), patient=True) as source:
        reader.deliver(1)
        assert next(iter(source)).sequence == 0
        assert sample(metrics, "bodywire_sender_camera_up") == 1
        reader.lose()
    assert attempts[:3] == [0.0, 0.0, 0.0]
    assert "camera 0 is missing: not plugged in" in caplog.text


def test_unexpected_exception_of_reader_is_raised_while_iterating() -> None:
    reader = ScriptedReader()
    with LiveSource("camera 0", lambda: reader) as source:
        reader.script.put(ZeroDivisionError("bug"))
        with pytest.raises(ZeroDivisionError):
            next(iter(source))
    assert reader.closed.is_set()


def test_backlog_is_as_old_as_the_camera_says() -> None:
    reader = ScriptedReader()
    now_s = iter([0.0, 100.0, 104.0, 104.0, 104.1, 105.0])
    with LiveSource("door", lambda: reader, clock=Clock(monotonic=now_s.__next__, wall=lambda: 5000.0)) as source:
        frames = iter(source)
        # Four seconds without a frame, then what had waited.
        for time_s, late_s in ((7.0, 0.0), (7.1, 3.86), (9.0, 1.96), (11.1, 0.0), (None, 0.0)):
            reader.deliver(1, time_s=time_s)
            frame = next(frames)
            assert 5000.0 - frame.captured_at == pytest.approx(late_s, abs=0.05)
        assert frame.media_time_s == 105.0
        reader.lose()


def shown_lateness(times_s: list[float], arrivals_s: list[float]) -> list[float]:
    delay = LeastDelay()
    return [delay.behind_s(*pair) for pair in zip(times_s, arrivals_s, strict=True)]


@pytest.mark.parametrize("rate", [1 - 5e-3, 1 - 1e-4, 1 + 1e-4, 1 + 0.2])
def test_camera_whose_clock_drifts_is_not_late(rate: float) -> None:
    arrivals_s = np.arange(0, 7200, 0.2) + np.random.default_rng(0).exponential(0.01, 36_000)
    late_s = np.array(shown_lateness((np.arange(0, 7200, 0.2) * rate + 9e4).tolist(), arrivals_s.tolist()))
    assert late_s.min() >= 0.0 and late_s.max() < 0.2


@pytest.mark.parametrize("jump_s", [-9e4, -2.0, 5.0, 9e6])
def test_times_that_jump_make_nothing_late(jump_s: float) -> None:
    arrivals_s = np.arange(100) / 10
    times_s = arrivals_s + jump_s * ((arrivals_s > 3) & (arrivals_s < 6))
    assert max(shown_lateness(times_s.tolist(), arrivals_s.tolist())) < 0.05


def test_clock_that_stands_still_for_a_while_makes_nothing_late_for_long() -> None:
    arrivals_s = np.concatenate([np.arange(100), np.arange(150, 400)]) / 10
    late_s = shown_lateness((np.arange(350) / 10).tolist(), arrivals_s.tolist())
    assert late_s[100] == pytest.approx(5.0, abs=0.1) and max(late_s[:100] + late_s[160:]) < 0.1


@pytest.mark.parametrize("headroom", [0.15, 1.0])
def test_backlog_that_becomes_shorter_slowly_is_late_until_its_end(headroom: float) -> None:
    times_s = np.arange(800) / 10
    arrivals_s = np.maximum(times_s, 14.0 + (times_s - 10) / (1 + headroom))
    arrivals_s[times_s < 10] = times_s[times_s < 10]
    late_s = shown_lateness(times_s.tolist(), arrivals_s.tolist())
    assert late_s == pytest.approx((arrivals_s - times_s).tolist(), abs=0.4)


def test_camera_whose_clock_stands_still_is_as_old_as_can_be() -> None:
    late_s = shown_lateness([5.0] * 1000, list(map(float, range(1000))))
    assert max(late_s) <= 30.0
