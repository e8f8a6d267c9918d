"""When to send a heartbeat: only when no other message serves, since on a thin link each costs as much as a frame.

Frames and their acknowledgements are keepalives too.  While they flow, heartbeats only compare the clocks, once a
second.  While a frame is unanswered, a heartbeat queued behind it gives little information, and on a stalled link it
would only delay the first frame after the stall.  After a while a single heartbeat is sent, because a receiver that is
busy with a frame echoes it at once.  A heartbeat that may be lost is repeated before the receiver is taken for lost.
"""

import math

from sender.link.keepalive.patience import Patience

# Heartbeat intervals of silence after which a heartbeat finds out whether a receiver that owes an answer is only busy.
_BUSY_RECEIVER_INTERVALS = 4.0
# Heartbeat intervals after which one without an echo is repeated, where it may have been lost.
_REPEATED_AFTER_INTERVALS = 2.0


class HeartbeatSchedule:
    """Decides when the next heartbeat of a stream is due; times are seconds of one monotonic clock.

    Args:
        interval_s: longest time without a message sent, and without a message received.
        comparison_interval_s: from one comparison of the clocks to the next.
        patience: how much longer answers may take, because the link is slow.
        lossy: heartbeats may be lost.
    """

    def __init__(
        self, interval_s: float, comparison_interval_s: float, patience: Patience, *, lossy: bool = False
    ) -> None:
        self._interval_s, self._comparison_interval_s, self._patience = interval_s, comparison_interval_s, patience
        self._repeated_after_s = _REPEATED_AFTER_INTERVALS * self._interval_s if lossy else math.inf
        self._sent_s = self._received_s = self._heartbeat_s = -float("inf")
        self._echo_pending = False
        self._unanswered_frames = 0

    def frame_sent(self, now_s: float) -> None:
        self._sent_s = now_s
        self._unanswered_frames += 1

    def frame_answered(self) -> None:
        self._unanswered_frames = max(self._unanswered_frames - 1, 0)

    def heartbeat_sent(self, now_s: float) -> None:
        self._sent_s = self._heartbeat_s = now_s
        self._echo_pending = True

    def message_received(self, now_s: float) -> None:
        self._received_s = now_s

    def echo_received(self, now_s: float) -> None:
        self.message_received(now_s)
        self._echo_pending = False

    def due(self, now_s: float) -> bool:
        # A pending heartbeat suffices, unless a message arrived after it: then it cannot reveal a silence that began
        # with that message.
        pending = self._echo_pending and self._heartbeat_s > self._received_s
        if pending and now_s - self._heartbeat_s < self._repeated_after_s * self._patience.factor:
            return False
        silence_s = now_s - self._received_s
        busy_s = _BUSY_RECEIVER_INTERVALS * self._interval_s * self._patience.factor
        if self._unanswered_frames and silence_s < busy_s:
            return silence_s < self._interval_s and self._comparison_due(now_s)
        return now_s - min(self._sent_s, self._received_s) >= self._interval_s or self._comparison_due(now_s)

    def frame_serves(self, now_s: float) -> bool:
        """Whether a frame may leave instead of a heartbeat that is due: its answer ends the silence as well."""
        return not self._unanswered_frames and not self._comparison_due(now_s)

    def _comparison_due(self, now_s: float) -> bool:
        return now_s - self._heartbeat_s >= self._comparison_interval_s * self._patience.factor
