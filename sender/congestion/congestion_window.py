"""How many frames may be on their way: as many as the way holds without a queue, and hardly one more.  Pure.

Of W frames in flight, W · (1 − shortest / present time there and back) stand in a queue (TCP Vegas, Brakmo 1995); a
frame in a queue is an old frame.  The window grows if frames had to wait for it and nearly nobody queues, at first by
half of itself, later by one; it shrinks by those who queue as soon as more than one does.  A queue that never ends
would be taken for a longer way: so now and then the window halves for a moment, and looks (as BBR does).  A live source
never needs more than it offers in a round trip, and one: what the window has beyond that fills when the link falls.
"""

import math
from collections import deque

from sender.congestion.paper_delay import WindowedExtreme
from sender.congestion.samples import LinkSample

_SHORTEST_WINDOW_MS = 30_000.0
_LOOK_EVERY_MS = 15_000.0
# Within this of the shortest time there is no queue to speak of.
_NEAR = 1.15
_START = 2
_GROW_BELOW, _SHRINK_ABOVE = 0.6, 1.15
_GROWTH = 1.5
# Where the window was wider, the queue was made by more than two: it is not yet known that two are too many.
_FIRST_SHRINK = 2
_OFFERS = 9
# Who has just found the limit does not try it again at once.
_CONTENT_MS = 4000.0
# Single frames are late by accident; when so many in a row are, a queue stands.
_LATE = 4


class CongestionWindow:
    """The window, in frames.

    Args:
        most: never more than this.
    """

    def __init__(self, most: int) -> None:
        self._shortest_ms = WindowedExtreme(_SHORTEST_WINDOW_MS)
        self._recent_ms: deque[float] = deque(maxlen=_LATE)
        self._offers_ms: deque[float] = deque(maxlen=_OFFERS)
        self.restart(most)

    @property
    def frames(self) -> int:
        """How many may be unacknowledged now."""
        return self._frames

    def restart(self, most: int) -> None:
        """A new stream began, perhaps over another way.

        Raises:
            ValueError: `most` is less than one frame.
        """
        if most < 1:
            raise ValueError(f"a window holds at least one frame, not {most}")
        self._most = most
        self._frames = min(_START, most)
        self._shortest_ms.clear()
        self._recent_ms.clear()
        self._young, self._wanted_more = True, False
        self._content_until_ms = self._changed_ms = -math.inf
        self._looked_ms: float | None = None

    def offered(self, now_ms: float) -> None:
        """A live source has a frame, whatever will become of it."""
        self._offers_ms.append(now_ms)

    def update(self, sample: LinkSample, now_ms: float) -> int:
        """Takes in an acknowledged frame and returns `frames`."""
        total_ms = max(sample.round_trip_time_ms + sample.hold_ms, 0.01)
        shortest_ms = self._shortest_ms.update(total_ms, now_ms)
        if self._looked_ms is None or total_ms < _NEAR * shortest_ms:
            self._looked_ms = now_ms
        if now_ms - total_ms < self._changed_ms:
            return self._frames  # it left in another window than this one
        self._recent_ms.append(total_ms)
        self._wanted_more |= sample.waited
        if len(self._recent_ms) == _LATE:
            self._decide(self._frames * (1 - shortest_ms / min(self._recent_ms)), now_ms)
        return self._frames

    def _decide(self, queued: float, now_ms: float) -> None:
        assert self._looked_ms is not None
        if queued > _SHRINK_ABOVE:
            self._young = False
            self._content_until_ms = now_ms + _CONTENT_MS
            fewest = _FIRST_SHRINK if self._frames > _FIRST_SHRINK else 1
            self._change(max(math.floor(self._frames - queued) + 1, fewest), now_ms)
        elif now_ms - self._looked_ms > _LOOK_EVERY_MS:
            self._looked_ms = now_ms
            self._change(self._frames // 2, now_ms)
        elif queued < _GROW_BELOW and self._wanted_more and now_ms >= self._content_until_ms:
            self._change(math.ceil(_GROWTH * self._frames) if self._young else self._frames + 1, now_ms)

    def _needed(self, now_ms: float) -> int:
        shortest_ms = self._shortest_ms.at(now_ms)
        if len(self._offers_ms) < _OFFERS or shortest_ms is None:
            return self._most
        interval_ms = max((self._offers_ms[-1] - self._offers_ms[0]) / (_OFFERS - 1), 1.0)
        return math.ceil(shortest_ms / interval_ms) + 1

    def _change(self, frames: int, now_ms: float) -> None:
        self._frames, self._changed_ms = min(max(1, frames), self._needed(now_ms), self._most), now_ms
        self._wanted_more = False
        self._recent_ms.clear()
