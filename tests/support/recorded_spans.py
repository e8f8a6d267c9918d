"""Keeps spans in memory."""

from common.io.tracing import FrameSpan


class RecordedSpans:
    """A `SpanSink`."""

    def __init__(self) -> None:
        self.spans: list[FrameSpan] = []
        self.closed = False

    def export(self, span: FrameSpan) -> None:
        self.spans.append(span)

    def close(self) -> None:
        self.closed = True

    def times(self) -> dict[str, tuple[float, float]]:
        """Beginning and end of each span by name."""
        return {span.name: (span.began_s, span.ended_s) for span in self.spans}
