"""The congestion window on simulated links: wide enough for long ones, narrow enough for thin ones."""

import heapq

import numpy as np

from sender.congestion.capacity import LinkSample
from sender.congestion.pacing import CongestionWindow
from tests.netlab.pipe import Pipe, Shape
from tests.netlab.traces import Trace

FPS = 30.0


def simulate(
    shape: Shape, back_s: float, seconds: float, size: int = 200, hold_s: float = 0.005, most: int = 32
) -> list[tuple[float, float]]:
    """A live source over a pipe; the receiver reconstructs one frame at a time.

    Returns:
        (captured, shown) of every frame that was sent.
    """
    window, pipe = CongestionWindow(most), Pipe(shape)
    events: list[tuple[float, int, str, tuple[float, ...]]] = [(0.0, 0, "capture", ())]
    count, in_window, free_s = 0, 0, 0.0
    waiting: float | None = None
    held_back = False
    frames: list[tuple[float, float]] = []
    while events:
        now_s, _, kind, frame = heapq.heappop(events)
        if kind == "capture":
            waiting, held_back = now_s, in_window >= window.frames
            if now_s + 1 / FPS < seconds:
                count += 1
                heapq.heappush(events, (now_s + 1 / FPS, count, "capture", ()))
        else:
            in_window -= 1
            sent_s, held_s, waited = frame
            rtt_ms = 1e3 * (now_s - sent_s - held_s)
            sample = LinkSample(0, size, rtt_ms, 1e3 * held_s, None, None, waited > 0)
            window.update(sample, 1e3 * now_s)
        if waiting is not None and in_window < window.frames:
            arrived_s = pipe.offer(size, now_s)
            assert arrived_s is not None
            done_s = free_s = max(arrived_s, free_s) + hold_s
            frames.append((waiting, done_s))
            in_window, waiting = in_window + 1, None
            count += 1
            heapq.heappush(events, (done_s + back_s, count, "acknowledge", (now_s, done_s - arrived_s, held_back)))
    return frames


def test_long_link_carries_every_frame() -> None:
    for one_way_s in (0.0, 0.03, 0.15, 0.3):
        frames = simulate(Shape(None, one_way_s), one_way_s, 10.0)
        settled = [frame for frame in frames if frame[0] > 5.0]
        assert len(settled) >= 0.97 * 5.0 * FPS


def test_thin_link_has_hardly_any_queue() -> None:
    for kbps in (20.0, 40.0):
        # 200 bytes take 80 or 40 ms: the link carries fewer frames than the source captures.
        frames = simulate(Shape(Trace.constant(kbps), 0.03), 0.03, 20.0)
        ages_s = [arrived_s - captured_s for captured_s, arrived_s in frames if captured_s > 5.0]
        one_frame_s = 200 / (kbps * 125)
        # One frame in transmission and one queued, except when the window tries to grow.
        assert np.percentile(ages_s, 80) < 0.03 + 2.2 * one_frame_s + 1 / FPS
        assert max(ages_s) < 0.03 + 3.5 * one_frame_s + 1 / FPS
        assert len(ages_s) > 0.9 * 15.0 / one_frame_s


def test_live_source_limits_the_window_to_a_round_trip_of_frames() -> None:
    window = CongestionWindow(32)
    for number in range(200):
        now_ms = number * 1e3 / FPS
        window.offered(now_ms)
        # A round trip of 60 ms; every frame waited a little, as on a busy machine.
        window.update(LinkSample(number, 200, 60.0, 0.0, 33.0, 33.0, True), now_ms)
    assert window.frames == 3


def test_messages_queue_where_all_round_trips_are_longer_than_the_least() -> None:
    window = CongestionWindow(8)
    queues = [window.queues]
    for number, round_trip_ms in enumerate([60.0] * 4 + [100.0] * 4):
        window.update(LinkSample(number, 100, round_trip_ms, 0.0, None, None, False), 33.0 * number)
        queues.append(window.queues)
    assert queues == [True] * 4 + [False] * 4 + [True]  # nothing is known at first
