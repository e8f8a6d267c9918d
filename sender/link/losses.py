"""Which frames in flight are lost, over a transport that may lose frames and their acknowledgements.

The receiver answers frames in the order in which they arrive.  So an answer shows that the frames before it were lost
or arrived too late, or that their answers were lost: they are given up.  Without any answer the oldest frame of a full
window, or one that no frame follows, is given up after a time like TCP's retransmission timeout (RFC 6298), which
doubles from the third one on: a fresh frame can leave and show whether the link is back.  An answer to a frame that was
given up shows how slow the link has become.
"""

import math
from collections.abc import Collection, Sequence

from common.wire.convert import MAX_WINDOW, Acknowledgement, AckStatus
from sender.link.frame_queue import InFlight

# What an acknowledgement may wait for the next one, with some reserve.
_ACK_DELAY_S = 0.16
_INITIAL_TIMEOUT_S = 0.5
# A small packet that often costs nothing, and finds the end of an outage soon.
_MAX_TIMEOUT_S = 0.5
_DEVIATIONS = 4.0
# Frames that are predicted from a lost one are lost with it, for a round trip: too many if it happens more often.
_CALM_S = 10.0


class Losses:
    """Of one stream; times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._mean_s: float | None = None
        self._deviation_s = 0.0
        self._given_up = 0
        self._last_s = 0.0
        self._lost_s = -math.inf
        self._silent_until_s = -math.inf
        self._gone: dict[int, InFlight] = {}

    def lost(self, now_s: float) -> None:
        """Records that a frame was lost."""
        self._lost_s = now_s

    def silence_ended(self, answered_s: float) -> None:
        """Records that what was sent until then, and has no answer, was lost in an outage."""
        self._silent_until_s = answered_s

    def frequent(self, now_s: float) -> bool:
        """Whether a frame was lost recently."""
        return now_s - self._lost_s < _CALM_S

    def answered(self, sequences: Collection[int], in_flight: Sequence[InFlight], now_s: float) -> list[InFlight]:
        """Handles answers to frames in flight; returns those that were sent before the last of them, without one."""
        times_s = {message.sequence: message.sent_at_s for message in in_flight}
        known = [times_s[sequence] for sequence in sequences if sequence in times_s]
        if not known:
            return []
        newest_s = max(known)
        self._learn(now_s - newest_s)
        self._given_up = 0
        lost = [item for item in in_flight if item.sent_at_s < newest_s and item.sequence not in sequences]
        if lost:
            self.lost(now_s)
        return lost

    def is_late(self, ack: Acknowledgement) -> bool:
        """Whether a frame that was given up had arrived, or will be handled."""
        return ack.sequence in self._gone and ack.status is not AckStatus.REJECTED

    def late(self, sequence: int, now_s: float) -> InFlight | None:
        """The frame that was given up and is answered now, for the first time: the link has become slow."""
        late = self._gone.pop(sequence, None)
        if late is not None:
            self._learn(now_s - late.sent_at_s)
        return late

    def overdue(self, in_flight: Sequence[InFlight], now_s: float) -> InFlight | None:
        """The frame in flight to be given up now, if none was answered for too long."""
        if not in_flight:
            return None
        oldest = min(in_flight, key=lambda item: item.sent_at_s)
        waited_s = now_s - max(oldest.sent_at_s, self._last_s)
        if waited_s < self._timeout_s and oldest.sent_at_s > self._silent_until_s:
            return None
        self._given_up += 1
        self._last_s = now_s
        self._gone[oldest.sequence] = oldest
        if len(self._gone) > MAX_WINDOW:
            del self._gone[next(iter(self._gone))]
        self.lost(now_s)
        return oldest

    @property
    def _timeout_s(self) -> float:
        if self._mean_s is None:
            return _INITIAL_TIMEOUT_S
        base_s = self._mean_s + _DEVIATIONS * self._deviation_s + _ACK_DELAY_S
        longest_s = max(base_s, _MAX_TIMEOUT_S)
        return float(min(base_s * 2.0 ** max(self._given_up - 2, 0), longest_s))

    def _learn(self, answered_s: float) -> None:
        if self._mean_s is None:
            self._mean_s, self._deviation_s = answered_s, answered_s / 2
            return
        self._deviation_s += (abs(answered_s - self._mean_s) - self._deviation_s) / 4
        self._mean_s += (answered_s - self._mean_s) / 8
