"""Traces of frames: which frames are traced, and under which ids. `common.io.otlp` delivers them.

A frame has one trace across sender and receiver. Its id costs no byte on the wire, because both ends derive it from
what both know: the session and the frame's sequence number. Whether a frame is traced follows from the id too, so that
both ends trace the same frames if `--trace-share` is the same; otherwise the smaller share has all of its spans.

    trace  = BLAKE2b(session id, sequence)          frame (sender: from capture to acknowledgement)
    frame  = BLAKE2b(trace, "frame")                ├── capture, perception, semantics, codec, link       sender
    others = BLAKE2b(trace, program, name, time)    └── receive ── queue, decode, …, publish              receiver
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self

ROOT = "frame"
"""Name of the span that all others of a frame are in."""

AttributeValue = str | int | float | bool


@dataclass(frozen=True, slots=True)
class FrameSpan:
    """One span of one frame.

    Args:
        trace_id: 128 bits.
        span_id: 64 bits.
        parent_id: 64 bits; None for the root.
        name: of the stage.
        began_s, ended_s: seconds since the epoch on the sender's clock.
        attributes: more about it.
    """

    trace_id: int
    span_id: int
    parent_id: int | None
    name: str
    began_s: float
    ended_s: float
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)


class SpanSink(Protocol):
    """Takes spans; must not block, and may drop some."""

    def export(self, span: FrameSpan) -> None: ...

    def close(self) -> None: ...


class FrameTracer:
    """Records the spans of the frames that are traced; a context manager that delivers the last ones at its end.

    Args:
        program: `sender` or `receiver`; tells apart spans of the same name.
        sink: takes the spans; None for no traces.
        share: of the frames that are traced, 0…1.
    """

    def __init__(self, program: str, sink: SpanSink | None = None, share: float = 1.0) -> None:
        self._program = program
        self._sink = sink
        self._limit = round(share * 2**64)

    def traces(self, session_id: bytes, sequence: int) -> bool:
        """Whether a frame is traced; the rule of OpenTelemetry's sampler by trace id."""
        return self._sink is not None and trace_id(session_id, sequence) & (2**64 - 1) < self._limit

    def record(
        self,
        session_id: bytes,
        sequence: int,
        name: str,
        began_s: float,
        ended_s: float,
        *,
        parent: int | None = None,
        attributes: Mapping[str, AttributeValue] | None = None,
    ) -> int:
        """Records a span, if its frame is traced.

        Args:
            name: `ROOT` for the one that has no parent.
            began_s, ended_s: seconds since the epoch on the sender's clock.
            parent: id of the span that it is in; by default the root.
            attributes: more about it, by OpenTelemetry's kind of names.

        Returns:
            The id of the span.
        """
        if self._sink is None or not self.traces(session_id, sequence):
            return 0
        trace = trace_id(session_id, sequence)
        root = _derived(trace, ROOT)
        if name == ROOT:
            span_id, parent_id = root, None
        else:
            span_id = _derived(trace, f"{self._program} {name} {began_s!r}")
            parent_id = root if parent is None else parent
        # A clock may be stepped, or its offset forged; a span that begins before 1970 would cost others theirs.
        begins_s = max(began_s, 0.0)
        ends_s = max(begins_s, ended_s)
        self._sink.export(FrameSpan(trace, span_id, parent_id, name, begins_s, ends_s, attributes or {}))
        return span_id

    def close(self) -> None:
        """Delivers what has been recorded, if that is possible within a few seconds."""
        if self._sink is not None:
            self._sink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def trace_id(session_id: bytes, sequence: int) -> int:
    """The id of a frame's trace, 128 bits and not 0."""
    digest = hashlib.blake2b(session_id + sequence.to_bytes(8, "big"), digest_size=16, person=b"bodywire trace")
    return int.from_bytes(digest.digest(), "big") or 1


def _derived(trace: int, name: str) -> int:
    """The id of a span, 64 bits and not 0."""
    digest = hashlib.blake2b(trace.to_bytes(16, "big") + name.encode(), digest_size=8, person=b"bodywire span")
    return int.from_bytes(digest.digest(), "big") or 1
