"""When a message is due: only when nothing else shows it, for on a thin link each costs as much as a frame.  Pure.

Frames and their acknowledgements are keepalives too.  While they come and go, heartbeats only compare the clocks,
once a second. While something has not been answered, a heartbeat behind it in the same queue is worth little: on a link
that stands still it would only be in the way of the first frame when that moves on.  A single one goes after a while,
for a receiver that is busy with a frame answers it at once.
"""

_COMPARE_CLOCKS_S = 1.0
# Intervals of silence after which a heartbeat asks whether a receiver that owes an answer is only busy.
_BUSY = 4.0


class HeartbeatSchedule:
    """Times are of one monotonic clock, in seconds.

    Args:
        interval_s: so long may pass without anything sent, or without anything heard.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self.restart()

    def restart(self) -> None:
        """A new stream began; what went with the old one will not be answered."""
        self._sent_s = self._heard_s = self._beat_s = self._awake_s = -float("inf")
        self._unanswered = False
        self._frames = 0

    def sent(self, now_s: float) -> None:
        """A frame went out."""
        self._sent_s = now_s
        self._frames += 1

    def answered(self) -> None:
        """The receiver has said what became of a frame."""
        self._frames = max(self._frames - 1, 0)

    def beat(self, now_s: float) -> None:
        """A heartbeat went out."""
        self._sent_s = self._beat_s = now_s
        self._unanswered = True

    def heard(self, now_s: float) -> None:
        """Something came in."""
        if now_s - self._heard_s >= self._interval_s:
            self._awake_s = now_s
        self._heard_s = now_s

    def echoed(self, now_s: float) -> None:
        """The echo of a heartbeat came in."""
        self.heard(now_s)
        self._unanswered = False

    def due(self, now_s: float) -> bool:
        """Whether to send one now."""
        # One that left before something else was heard does not tell whether the receiver has fallen silent since.
        if self._unanswered and self._beat_s > self._heard_s:
            return False
        silent_s = now_s - self._heard_s
        if self._frames and silent_s < _BUSY * self._interval_s:
            return silent_s < self._interval_s and self._comparison_is_due(now_s)
        return now_s - min(self._sent_s, self._heard_s) >= self._interval_s or self._comparison_is_due(now_s)

    def _comparison_is_due(self, now_s: float) -> bool:
        # After a silence there may soon be another, in which this would only stand before frames.
        return now_s - max(self._beat_s, self._awake_s) >= _COMPARE_CLOCKS_S
