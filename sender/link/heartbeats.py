"""When a sign of life is due: only when nothing else shows it, for on a thin link each costs as much as a frame.  Pure.

Frames and their acknowledgements are signs of life too.  While they come and go, heartbeats only compare the clocks,
once a second. While one has not been answered, another one behind it in the same queue is worth nothing but to keep
the receiver from taking us for dead: that, too, takes one a second.
"""

_COMPARE_CLOCKS_S = 1.0


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
        self._sent_s = self._heard_s = self._beat_s = -float("inf")
        self._unanswered = False

    def sent(self, now_s: float) -> None:
        """A frame went out."""
        self._sent_s = now_s

    def beat(self, now_s: float) -> None:
        """A heartbeat went out."""
        self._sent_s = self._beat_s = now_s
        self._unanswered = True

    def heard(self, now_s: float) -> None:
        """Something other than the echo of a heartbeat came in."""
        self._heard_s = now_s

    def echoed(self, now_s: float) -> None:
        """The echo of a heartbeat came in."""
        self._heard_s = now_s
        self._unanswered = False

    def due(self, now_s: float) -> bool:
        """Whether to send one now."""
        if now_s - self._beat_s >= _COMPARE_CLOCKS_S:
            return True
        # One that left before something else was heard does not tell whether the receiver has fallen silent since.
        waiting = self._unanswered and self._beat_s > self._heard_s
        return not waiting and now_s - min(self._sent_s, self._heard_s) >= self._interval_s
