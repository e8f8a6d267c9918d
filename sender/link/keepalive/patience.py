"""How much longer than usual a receiver may be silent, because the link is slow.

On a thin link what is under way takes seconds, and another connection many more.  The round trips of the last seconds
tell how long the next one may take.
"""

from sender.congestion.windowed_extreme import WindowedExtreme

# Round trips of up to so many heartbeat intervals are usual.
_USUAL_INTERVALS = 2.0
# A longer one may have been an outage.
_MOST = 5.0
_WINDOW_MS = 5000.0


class Patience:
    """On one stream.

    Args:
        interval_s: between heartbeats.

    Attributes:
        factor: by what to multiply the times after which silence means something, 1 to 5.
    """

    def __init__(self, interval_s: float) -> None:
        self._usual_s = _USUAL_INTERVALS * interval_s
        self._longest_s = WindowedExtreme(_WINDOW_MS, largest=True)
        self.factor = 1.0

    def answered(self, round_trip_s: float, now_s: float) -> None:
        """Records a round trip that ended at a monotonic time, without what the receiver held the answer back."""
        longest_s = self._longest_s.update(round_trip_s, now_s * 1e3)
        self.factor = min(max(longest_s / self._usual_s, 1.0), _MOST)
