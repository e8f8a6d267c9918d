"""The sender's part of a frame's trace: capture, perception, semantics, codec, link, and the root around them."""

from collections.abc import Iterator
from contextlib import contextmanager

from common.clock import SYSTEM_CLOCK, Clock
from common.frames import LabelFrame
from common.io.tracing import ROOT, AttributeValue, FrameTracer
from sender.link.observer import Fate, LinkObserver
from sender.link.session import Payload


class SenderTraces(LinkObserver):
    """Traces the frames of one session (`tracer`: takes the spans; by default none are recorded)."""

    def __init__(self, tracer: FrameTracer | None = None, session_id: bytes = b"", clock: Clock = SYSTEM_CLOCK) -> None:
        self._tracer = tracer or FrameTracer("sender")
        self._session_id = session_id
        self._clock = clock
        # When each traced frame was sent last, and its bytes.
        self._sent: dict[int, tuple[float, int]] = {}

    @contextmanager
    def stage(self, sequence: int, name: str) -> Iterator[None]:
        """Traces the block as a stage of a frame, also if it raises."""
        began_s = self._clock.wall()
        try:
            yield
        finally:
            self._tracer.record(self._session_id, sequence, name, began_s, self._clock.wall())

    def captured(self, sequence: int, began_s: float, ended_s: float) -> None:
        """Traces the capture of a frame; times are seconds since the epoch."""
        self._tracer.record(self._session_id, sequence, "capture", began_s, ended_s)

    def sent(self, frame: LabelFrame, encoded: Payload, *, again: bool) -> None:
        if self._tracer.traces(self._session_id, frame.sequence):
            self._sent[frame.sequence] = self._clock.wall(), len(encoded.payload)

    def ended(self, frame: LabelFrame, fate: Fate) -> None:
        now_s = self._clock.wall()
        sent_s, payload_bytes = self._sent.pop(frame.sequence, (None, 0))
        if sent_s is not None:
            size = {"bodywire.payload_bytes": payload_bytes}
            self._tracer.record(self._session_id, frame.sequence, "link", sent_s, now_s, attributes=size)
        about: dict[str, AttributeValue] = {
            "bodywire.session": self._session_id.hex(),
            "bodywire.sequence": frame.sequence,
            "bodywire.source": frame.source,
            "bodywire.people": len(frame.people),
            "bodywire.fate": fate.value,
        }
        self._tracer.record(self._session_id, frame.sequence, ROOT, frame.captured_at, now_s, attributes=about)
