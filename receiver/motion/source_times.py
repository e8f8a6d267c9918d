"""Times of capture that go on where the sender's clock was set."""

import logging
from dataclasses import replace
from typing import Final

from common.clock import BridgedTimes
from common.codec.frame_state import DecodedFrame

logger = logging.getLogger(__name__)

# From one frame to the next, until two are known.
_INTERVAL_S: Final = 1 / 30


class SourceTimes:
    """Times of capture of a session's frames, which go on while the source does."""

    def __init__(self) -> None:
        self._source, self._newest, self._warned = "", -1, False
        self._times = BridgedTimes(_INTERVAL_S)

    def bridged(self, decoded: DecodedFrame) -> DecodedFrame:
        """The frame with its time on the clock as it was at the source's first frame; frames may come late."""
        frame, set_s = decoded.frame, -self._times.shift_s
        if frame.source != self._source:
            self._source, self._times, set_s = frame.source, BridgedTimes(_INTERVAL_S), 0.0
        captured_at = frame.captured_at - set_s
        if frame.sequence > self._newest:
            self._newest, captured_at = frame.sequence, self._times.following(frame.captured_at)
        if -self._times.shift_s != set_s and not self._warned:
            self._warned = True
            text = "the sender's clock was set by %+.0f s at frame %d: the times of its frames go on as before"
            logger.warning(text, -self._times.shift_s - set_s, frame.sequence)
        frame = replace(frame, captured_at=captured_at)
        return replace(decoded, frame=frame, clock_set_s=-self._times.shift_s)
