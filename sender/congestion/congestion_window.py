"""Congestion window: the frames of one bandwidth-delay product in flight, plus at most one in a queue.

Of W frames in flight, W · (1 − minimum round trip / present round trip) are queued (TCP Vegas, Brakmo 1995), and a
queued frame is a stale frame.  The window grows if frames had to wait for it and hardly any are queued: at first by a
factor of 1.5, later by one frame.  It shrinks by the number of queued frames as soon as that exceeds about one.  A
queue that never drains would be taken for a longer path: so every 15 s without a round trip near the minimum, the
window is halved to measure the minimum again (as BBR's ProbeRTT does).  A live source never needs more than the frames
that it captures in a round trip, plus one: a larger window would only fill when the link's capacity falls.
"""

import math
from collections import deque

from sender.congestion.samples import LinkSample
from sender.congestion.windowed_extreme import WindowedExtreme

_MIN_RTT_WINDOW_MS = 30_000.0
_MIN_RTT_PROBE_INTERVAL_MS = 15_000.0
# Up to this multiple of the minimum round trip, the queue is considered empty.
_EMPTY_QUEUE_RTT_RATIO = 1.15
_INITIAL_FRAMES = 2
_GROW_BELOW_QUEUED, _SHRINK_ABOVE_QUEUED = 0.6, 1.15
_SLOW_START_FACTOR = 1.5
# A window that was wider shrinks to two first: its queue does not prove that two frames are too many.
_FIRST_SHRINK_TO_FRAMES = 2
_OFFERS_FOR_FRAME_RATE = 9
_HOLD_AFTER_SHRINK_MS = 4000.0
# Single round trips are late by chance; the minimum of this many consecutive ones shows a standing queue.
_STANDING_QUEUE_FRAMES = 4


class CongestionWindow:
    """The window, in frames. Raises ValueError if `most` is less than one frame."""

    def __init__(self, most: int) -> None:
        self._min_rtt_ms = WindowedExtreme(_MIN_RTT_WINDOW_MS)
        self._recent_rtts_ms: deque[float] = deque(maxlen=_STANDING_QUEUE_FRAMES)
        self._offers_ms: deque[float] = deque(maxlen=_OFFERS_FOR_FRAME_RATE)
        self.restart(most)

    @property
    def frames(self) -> int:
        """How many frames may be unacknowledged now."""
        return self._frames

    @property
    def queues(self) -> bool:
        """Whether messages queue on the link, as far as is known."""
        return self._queues

    def restart(self, most: int) -> None:
        """Resets the state for a new stream, whose path may differ.

        Raises:
            ValueError: `most` is less than one frame.
        """
        if most < 1:
            raise ValueError(f"a window has at least one frame, not {most}")
        self._most = most
        self._frames = min(_INITIAL_FRAMES, most)
        self._min_rtt_ms.clear()
        self._recent_rtts_ms.clear()
        self._slow_start, self._window_limited, self._queues = True, False, True
        self._hold_until_ms = self._changed_ms = -math.inf
        self._min_rtt_seen_ms: float | None = None

    def offered(self, now_ms: float) -> None:
        """Records that a live source has captured a frame, whether or not it will be sent."""
        self._offers_ms.append(now_ms)

    def update(self, sample: LinkSample, now_ms: float) -> int:
        """Adds an acknowledged frame and returns `frames`."""
        rtt_ms = max(sample.round_trip_time_ms + sample.hold_ms, 0.01)
        min_rtt_ms = self._min_rtt_ms.update(rtt_ms, now_ms)
        if self._min_rtt_seen_ms is None or rtt_ms < _EMPTY_QUEUE_RTT_RATIO * min_rtt_ms:
            self._min_rtt_seen_ms = now_ms
        if now_ms - rtt_ms < self._changed_ms:
            return self._frames  # sent before the window last changed
        self._recent_rtts_ms.append(rtt_ms)
        self._window_limited |= sample.waited
        if len(self._recent_rtts_ms) == _STANDING_QUEUE_FRAMES:
            self._adapt(self._frames * (1 - min_rtt_ms / min(self._recent_rtts_ms)), now_ms)
        return self._frames

    def _adapt(self, queued_frames: float, now_ms: float) -> None:
        assert self._min_rtt_seen_ms is not None
        self._queues = queued_frames >= _GROW_BELOW_QUEUED
        if queued_frames > _SHRINK_ABOVE_QUEUED:
            self._slow_start = False
            self._hold_until_ms = now_ms + _HOLD_AFTER_SHRINK_MS
            fewest = _FIRST_SHRINK_TO_FRAMES if self._frames > _FIRST_SHRINK_TO_FRAMES else 1
            self._change(max(math.floor(self._frames - queued_frames) + 1, fewest), now_ms)
        elif now_ms - self._min_rtt_seen_ms > _MIN_RTT_PROBE_INTERVAL_MS:
            self._min_rtt_seen_ms = now_ms
            self._change(self._frames // 2, now_ms)
        elif queued_frames < _GROW_BELOW_QUEUED and self._window_limited and now_ms >= self._hold_until_ms:
            grown = math.ceil(_SLOW_START_FACTOR * self._frames) if self._slow_start else self._frames + 1
            self._change(grown, now_ms)

    def _source_limit(self, now_ms: float) -> int:
        """Frames that a live source captures in a minimum round trip, plus one; `most` while that is unknown."""
        min_rtt_ms = self._min_rtt_ms.at(now_ms)
        if len(self._offers_ms) < _OFFERS_FOR_FRAME_RATE or min_rtt_ms is None:
            return self._most
        interval_ms = max((self._offers_ms[-1] - self._offers_ms[0]) / (_OFFERS_FOR_FRAME_RATE - 1), 1.0)
        return math.ceil(min_rtt_ms / interval_ms) + 1

    def _change(self, frames: int, now_ms: float) -> None:
        self._frames, self._changed_ms = min(max(1, frames), self._source_limit(now_ms), self._most), now_ms
        self._window_limited = False
        self._recent_rtts_ms.clear()
