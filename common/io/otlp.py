"""Delivers spans to an OpenTelemetry collector over HTTP; needs the extra `bodywire[tracing]`."""

import logging
import threading
from collections.abc import Sequence
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from common.io.tracing import ROOT, FrameSpan

logger = logging.getLogger(__name__)

_PATH = "/v1/traces"
# At 30 frames a second and a share of 1, half a minute of both kinds of daemon; then the oldest spans are dropped.
_QUEUED_SPANS, _BATCH_SPANS, _DELAY_MS = 8192, 512, 1000
_REQUEST_TIMEOUT_S, _CLOSE_TIMEOUT_S = 5.0, 3.0


class OtlpSink:
    """Queues spans and delivers them from a thread; a collector that does not answer costs frames nothing.

    Args:
        url: of the collector; without a path, that of OTLP is appended.
        program: `sender` or `receiver`, which becomes the service's name.
        exporter: sends batches; by default over HTTP to `url`.
    """

    def __init__(self, url: str, program: str, version: str, exporter: SpanExporter | None = None) -> None:
        # The library would log every attempt that fails.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        endpoint = url.rstrip("/") + _PATH if urlsplit(url).path in ("", "/") else url
        self._resource = Resource({"service.name": f"bodywire-{program}", "service.version": version})
        self._scope = InstrumentationScope("bodywire", version)
        self._processor = BatchSpanProcessor(
            _ReportsOnce(exporter or OTLPSpanExporter(endpoint=endpoint, timeout=_REQUEST_TIMEOUT_S), endpoint),
            max_queue_size=_QUEUED_SPANS,
            schedule_delay_millis=_DELAY_MS,
            max_export_batch_size=_BATCH_SPANS,
        )

    def export(self, span: FrameSpan) -> None:
        """Puts a span into the queue."""
        self._processor.on_end(
            ReadableSpan(
                span.name,
                _context(span.trace_id, span.span_id),
                parent=None if span.parent_id is None else _context(span.trace_id, span.parent_id),
                resource=self._resource,
                attributes=dict(span.attributes),
                kind=SpanKind.SERVER if span.name == ROOT else SpanKind.INTERNAL,
                start_time=round(span.began_s * 1e9),
                end_time=round(span.ended_s * 1e9),
                instrumentation_scope=self._scope,
            )
        )

    def close(self) -> None:
        """Delivers what is in the queue; gives up after three seconds."""
        # The library waits up to half a minute for a collector that does not answer.
        closing = threading.Thread(target=self._processor.shutdown, name="traces close", daemon=True)
        closing.start()
        closing.join(_CLOSE_TIMEOUT_S)


class _ReportsOnce(SpanExporter):
    """Logs the first of several failures in a row, and the first success after them."""

    def __init__(self, exporter: SpanExporter, endpoint: str) -> None:
        self._exporter = exporter
        self._endpoint = endpoint
        self._failed = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        reason = "the collector does not answer, or refuses them"
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # whatever the library or the network raises: traces must not harm the daemon
            reason = str(error) or type(error).__name__
        failed = result is not SpanExportResult.SUCCESS
        if failed and not self._failed:
            logger.warning("traces cannot be delivered to %s: %s; frames are not affected", self._endpoint, reason)
        elif self._failed and not failed:
            logger.warning("traces are delivered to %s again", self._endpoint)
        self._failed = failed
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _context(trace_id: int, span_id: int) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
