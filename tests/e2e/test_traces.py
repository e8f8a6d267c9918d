"""One trace per frame across both daemons, as an OpenTelemetry collector receives it."""

import gzip
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from PIL import Image

from sender.capture.open import DEMO_CLIP
from tests.e2e.daemons import receiver, run

FRAMES = 2
SENDER = {"frame", "capture", "perception", "semantics", "codec", "link"}
RECEIVER = {"receive", "codec", "queue", "decode", "diffusion", "body", "surface", "publish"}
# Both daemons run on one machine, and their clocks are compared with an error of a fraction of the round trip.
CLOCK_ERROR_NS = 100e6


@dataclass(frozen=True, slots=True)
class Span:
    service: str
    name: str
    trace: bytes
    identity: bytes
    parent: bytes
    began_ns: int
    ended_ns: int


@contextmanager
def collector() -> Iterator[tuple[str, list[Span]]]:
    """A collector on the loopback: its URL, and the spans that it has received."""
    spans: list[Span] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces"
            spans.extend(read_spans(ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", spans
        finally:
            server.shutdown()
            thread.join()


def read_spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource in request.resource_spans:
        service = next(
            entry.value.string_value for entry in resource.resource.attributes if entry.key == "service.name"
        )
        for scope in resource.scope_spans:
            for span in scope.spans:
                times = (span.start_time_unix_nano, span.end_time_unix_nano)
                yield Span(service, span.name, span.trace_id, span.span_id, span.parent_span_id, *times)


def images(folder: Path) -> Path:
    folder.mkdir()
    with av.open(str(DEMO_CLIP)) as clip:
        for index, frame in enumerate(clip.decode(video=0)):
            if index < FRAMES:
                Image.fromarray(frame.to_ndarray(format="rgb24")).save(folder / f"{index}.png")
    return folder


def test_spans_of_both_daemons_join_to_one_trace_per_frame(tmp_path: Path) -> None:
    with collector() as (url, spans):
        traces = ["--traces", url, "--trace-share", "1"]
        with receiver(tmp_path / "out", *traces) as running:
            sent = run("sender", "--camera", str(images(tmp_path / "images")), "--peer", running.address, *traces)
            assert sent.returncode == 0, sent.stderr
            code, errors = running.terminate()
    assert code == 0, errors
    by_trace: dict[bytes, list[Span]] = defaultdict(list)
    for span in spans:
        by_trace[span.trace].append(span)
    assert len(by_trace) == FRAMES
    for trace in by_trace.values():
        check_trace(trace)


def check_trace(trace: list[Span]) -> None:
    names = [(span.service, span.name) for span in trace]
    expected = {("bodywire-sender", name) for name in SENDER} | {("bodywire-receiver", name) for name in RECEIVER}
    assert set(names) == expected
    # A frame that waits while the link is lost is encoded again.
    assert [name for name in names if name != ("bodywire-sender", "codec") and names.count(name) > 1] == []
    identities = {span.identity: span for span in trace}
    assert len(identities) == len(trace)
    (root,) = (span for span in trace if not span.parent)
    assert root.name == "frame"
    (receive,) = (span for span in trace if span.name == "receive")
    for span in trace:
        if span is not root:
            above = receive if span.service == "bodywire-receiver" and span is not receive else root
            assert identities[span.parent] is above
        assert span.began_ns <= span.ended_ns
    (link,) = (span for span in trace if span.name == "link")
    assert link.began_ns - CLOCK_ERROR_NS <= receive.began_ns
    assert receive.ended_ns <= link.ended_ns + CLOCK_ERROR_NS


@pytest.mark.slow
def test_frames_pass_without_a_collector(tmp_path: Path) -> None:
    traces = ["--traces", "http://127.0.0.1:9", "--trace-share", "1"]
    with receiver(tmp_path / "out", *traces) as running:
        sent = run("sender", "--camera", str(images(tmp_path / "images")), "--peer", running.address, *traces)
        assert sent.returncode == 0
        assert f"sent {FRAMES} frames" in sent.stdout
        code, errors = running.terminate()
    assert code == 0
    for log in (sent.stderr, errors):
        assert log.count("traces cannot be delivered") <= 1
        assert "Traceback" not in log
        assert "opentelemetry" not in log
