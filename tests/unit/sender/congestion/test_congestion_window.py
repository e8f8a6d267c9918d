"""The window against simulated links: wide enough for long ones, narrow enough for thin ones."""

import heapq

import numpy as np
import pytest

from sender.congestion.congestion_window import CongestionWindow
from sender.congestion.samples import LinkSample
from tests.netlab.pipe import Pipe, Shape
from tests.netlab.traces import Trace

FPS = 30.0


def play(
    shape: Shape, back_s: float, seconds: float, size: int = 200, hold_s: float = 0.005, most: int = 32
) -> list[tuple[float, float]]:
    """A live source over a pipe; the receiver works on one at a time.

    Returns:
        (captured, shown) of every frame that was sent.
    """
    flight, pipe = CongestionWindow(most), Pipe(shape)
    events: list[tuple[float, int, str, tuple[float, ...]]] = [(0.0, 0, "capture", ())]
    count, in_flight, free_s = 0, 0, 0.0
    waiting: float | None = None
    held_back = False
    frames: list[tuple[float, float]] = []
    while events:
        now_s, _, kind, measurement = heapq.heappop(events)
        if kind == "capture":
            waiting, held_back = now_s, in_flight >= flight.frames
            if now_s + 1 / FPS < seconds:
                count += 1
                heapq.heappush(events, (now_s + 1 / FPS, count, "capture", ()))
        else:
            in_flight -= 1
            sent_s, held_s, waited = measurement
            way_ms = 1e3 * (now_s - sent_s - held_s)
            sample = LinkSample(0, size, way_ms, 1e3 * held_s, None, None, waited > 0, 0, 0, 0, 0)
            flight.update(sample, 1e3 * now_s)
        if waiting is not None and in_flight < flight.frames:
            arrived_s = pipe.offer(size, now_s)
            assert arrived_s is not None
            done_s = free_s = max(arrived_s, free_s) + hold_s
            frames.append((waiting, done_s))
            in_flight, waiting = in_flight + 1, None
            count += 1
            heapq.heappush(events, (done_s + back_s, count, "acknowledge", (now_s, done_s - arrived_s, held_back)))
    return frames


@pytest.mark.parametrize("one_way_s", [0.0, 0.03, 0.15, 0.3])
def test_a_long_way_carries_every_picture(one_way_s: float) -> None:
    frames = play(Shape(None, one_way_s), one_way_s, 10.0)
    settled = [frame for frame in frames if frame[0] > 5.0]
    assert len(settled) >= 0.97 * 5.0 * FPS


@pytest.mark.parametrize("kbps", [20.0, 40.0])
def test_a_thin_way_has_next_to_no_queue(kbps: float) -> None:
    # 200 bytes take 80 or 40 ms: fewer fit than the source has.
    frames = play(Shape(Trace.constant(kbps), 0.03), 0.03, 20.0)
    ages_s = [arrived_s - captured_s for captured_s, arrived_s in frames if captured_s > 5.0]
    one_frame_s = 200 / (kbps * 125)
    # One frame on the way and one that waits, but for the moments in which another one is tried.
    assert np.percentile(ages_s, 80) < 0.03 + 2.2 * one_frame_s + 1 / FPS
    assert max(ages_s) < 0.03 + 3.5 * one_frame_s + 1 / FPS
    assert len(ages_s) > 0.9 * 15.0 / one_frame_s


def test_a_slow_receiver_gets_no_queue_either() -> None:
    frames = play(Shape(None, 0.02), 0.02, 20.0, hold_s=0.1)
    ages_s = [arrived_s - captured_s for captured_s, arrived_s in frames if captured_s > 5.0]
    assert np.percentile(ages_s, 80) < 0.02 + 2.2 * 0.1 + 1 / FPS
    assert max(ages_s) < 0.02 + 3.5 * 0.1 + 1 / FPS
    assert len(ages_s) > 0.9 * 15.0 / 0.1


def test_a_step_down_leaves_no_old_frames() -> None:
    # 8 to 1 Mbit/s with frames so large that the first carries all and the second half of them.
    shape = Shape(Trace.steps((10.0, 8000.0), (10.0, 1000.0)), 0.03)
    frames = play(shape, 0.03, 20.0, size=9000)
    late = [arrived_s - captured_s for captured_s, arrived_s in frames if arrived_s > 10.8]
    assert max(late) < 0.06 + 0.25


def test_jitter_alone_does_not_close_the_window() -> None:
    flight, random = CongestionWindow(16), np.random.default_rng(2)
    sizes = []
    for number in range(600):
        total_ms = 60.0 + random.exponential(30.0)
        sizes.append(flight.update(LinkSample(0, 100, total_ms, 0.0, None, None, True, 0, 0, 0, 0), 33.0 * number))
    # 30 frames a second over 60 to 90 ms take two to three.
    assert np.mean(sizes[100:]) > 2.2


def test_never_more_than_allowed_and_never_none() -> None:
    flight = CongestionWindow(3)
    sizes = {flight.update(LinkSample(0, 100, 500.0, 0.0, None, None, True, 0, 0, 0, 0), 50.0 * n) for n in range(200)}
    assert max(sizes) == 3
    assert min(sizes) >= 1
    flight.restart(1)
    assert flight.frames == 1
    with pytest.raises(ValueError, match="at least one"):
        CongestionWindow(0)


def test_a_live_source_gets_no_wider_window_than_a_round_trip_of_its_frames() -> None:
    flight = CongestionWindow(32)
    for number in range(200):
        now_ms = number * 1e3 / FPS
        flight.offered(now_ms)
        # 60 ms there and back; every frame had to wait a little, as frames do on a busy machine.
        flight.update(LinkSample(number, 200, 60.0, 0.0, 33.0, 33.0, True, 0, 0, 0, 0), now_ms)
    assert flight.frames == 3


def test_a_queue_in_a_wide_window_is_no_reason_for_less_than_two_frames() -> None:
    flight, windows = CongestionWindow(8), []
    for number in range(60):
        rtt_ms = 60.0 if number < 30 else 600.0
        late = LinkSample(number, 200, rtt_ms, 0.0, 33.0, 33.0, True, 0, 0, 0, 0)
        windows.append(flight.update(late, number * 100.0))
    widest = max(windows)
    assert widest == 8
    assert next(each for each in windows[windows.index(widest) :] if each < widest) == 2
