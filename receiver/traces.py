"""The receiver's part of a frame's trace: from the arrival of its packet to the publication of its meshes."""

from collections.abc import Mapping

from common.clock import SYSTEM_CLOCK, Clock
from common.io.tracing import AttributeValue, FrameTracer
from receiver.link.frame_handler import Arrival, FrameOutcome
from receiver.link.session import Session


class ReceiverTraces:
    """Traces the frames of all sessions, on the clocks of their senders; by default into nothing."""

    def __init__(self, tracer: FrameTracer | None = None, clock: Clock = SYSTEM_CLOCK) -> None:
        self._tracer = tracer or FrameTracer("receiver")
        self._clock = clock

    def finished(
        self,
        session: Session,
        sequence: int,
        stages_ms: Mapping[str, float],
        arrival: Arrival,
        outcome: FrameOutcome,
    ) -> None:
        """Traces a frame that was handled just now.

        The codec and the engine report how long their stages took: they are laid end to end from the arrival of the
        frame. `publish` has just ended.

        Args:
            stages_ms: time of each stage in order.
        """
        if not self._tracer.traces(session.session_id, sequence):
            return
        offset_s = session.clock.offset_s if session.clock else 0.0
        now_s = self._clock.wall() - offset_s
        at_s = arrived_s = now_s - (self._clock.monotonic() - arrival.at_s)
        frame = (session.session_id, sequence)
        about: dict[str, AttributeValue] = {"bodywire.fate": str(outcome)}
        if session.clock:
            about["bodywire.clock_error_ms"] = session.clock.error_s * 1e3
        receive = self._tracer.record(*frame, "receive", arrived_s, now_s, attributes=about)
        for name, spent_ms in stages_ms.items():
            if name == "publish":
                self._tracer.record(*frame, name, now_s - spent_ms / 1e3, now_s, parent=receive)
            else:
                ends_s = min(at_s + spent_ms / 1e3, now_s)
                self._tracer.record(*frame, name, at_s, ends_s, parent=receive)
                at_s = ends_s
