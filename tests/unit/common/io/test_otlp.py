import logging
import threading
from collections.abc import Iterable, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from common.io.otlp import OtlpSink
from common.io.tracing import ROOT, FrameTracer

SESSION = bytes(16)


class ScriptedExporter(SpanExporter):
    """Answers with results in turn; an exception is raised."""

    def __init__(self, results: Iterable[SpanExportResult | Exception]) -> None:
        self._results = iter(results)
        self.spans: list[ReadableSpan] = []
        self.exported = threading.Semaphore(0)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += spans
        result = next(self._results, SpanExportResult.SUCCESS)
        self.exported.release()
        if isinstance(result, Exception):
            raise result
        return result

    def shutdown(self) -> None: ...


def test_spans_become_those_of_opentelemetry() -> None:
    exporter = ScriptedExporter([])
    with FrameTracer("sender", OtlpSink("http://unused", "sender", "1.2", exporter)) as tracer:
        tracer.record(SESSION, 3, ROOT, 1000.0, 1000.25, attributes={"bodywire.people": 2})
        tracer.record(SESSION, 3, "codec", 1000.1, 1000.125)
    root, codec = exporter.spans
    assert root.parent is None
    assert root.context is not None
    assert codec.parent is not None
    assert codec.parent.span_id == root.context.span_id
    assert (root.start_time, root.end_time) == (1_000_000_000_000, 1_000_250_000_000)
    assert dict(root.attributes or {}) == {"bodywire.people": 2}
    assert root.resource.attributes["service.name"] == "bodywire-sender"


def test_failures_are_logged_once_and_so_is_their_end(caplog: pytest.LogCaptureFixture) -> None:
    failures: list[SpanExportResult | Exception] = [
        SpanExportResult.FAILURE,
        ConnectionError("refused"),
        SpanExportResult.FAILURE,
    ]
    exporter = ScriptedExporter(failures)
    with (
        caplog.at_level(logging.WARNING),
        FrameTracer("sender", OtlpSink("http://host", "sender", "0", exporter)) as tracer,
    ):
        for sequence in range(5 * 512):  # five batches, each of which is delivered at once
            tracer.record(SESSION, sequence, ROOT, 1.0, 2.0)
    assert [record.message for record in caplog.records] == [
        "traces cannot be delivered to http://host/v1/traces: the collector does not answer, or refuses them; "
        "frames are not affected",
        "traces are delivered to http://host/v1/traces again",
    ]


def test_queue_is_bounded_while_the_collector_hangs(caplog: pytest.LogCaptureFixture) -> None:
    hanging = threading.Event()

    class HangingExporter(ScriptedExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            hanging.wait(60)
            return super().export(spans)

    exporter = HangingExporter([])
    with FrameTracer("sender", OtlpSink("http://host", "sender", "0", exporter)) as tracer:
        for sequence in range(20_000):
            tracer.record(SESSION, sequence, ROOT, 1.0, 2.0)
        hanging.set()
    assert 8192 <= len(exporter.spans) <= 8192 + 512
    assert caplog.records == []
