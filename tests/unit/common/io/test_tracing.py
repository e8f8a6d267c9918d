import sys

import pytest

from common.errors import UsageError
from common.io.config import TracingConfig
from common.io.tracing import ROOT, FrameTracer, trace_id
from tests.support.recorded_spans import RecordedSpans

SESSION = bytes(range(16))


def test_both_ends_have_one_trace_and_the_sender_has_its_root() -> None:
    sink = RecordedSpans()
    sender, receiver = FrameTracer("sender", sink), FrameTracer("receiver", sink)
    sender.record(SESSION, 7, ROOT, 1.0, 2.0)
    sender.record(SESSION, 7, "codec", 1.2, 1.3)
    receive = receiver.record(SESSION, 7, "receive", 1.5, 1.9)
    receiver.record(SESSION, 7, "codec", 1.5, 1.6, parent=receive)
    root, encoded, received, decoded = sink.spans
    assert {span.trace_id for span in sink.spans} == {trace_id(SESSION, 7)}
    assert root.parent_id is None
    assert [encoded.parent_id, received.parent_id] == [root.span_id, root.span_id]
    assert decoded.parent_id == received.span_id == receive
    assert len({span.span_id for span in sink.spans}) == 4
    again = sender.record(SESSION, 7, "codec", 2.0, 2.1)
    assert again != encoded.span_id, "a stage that runs again is another span"


def test_ids_differ_by_session_and_sequence() -> None:
    ids = {trace_id(session, sequence) for session in (SESSION, bytes(16)) for sequence in (0, 1, 2**53 - 2)}
    assert len(ids) == 6
    assert all(0 < identity < 2**128 for identity in ids)


def test_smaller_share_is_part_of_the_larger_one() -> None:
    few, many = (FrameTracer("sender", RecordedSpans(), share) for share in (0.05, 0.5))
    traced = [sequence for sequence in range(4000) if few.traces(SESSION, sequence)]
    assert 140 < len(traced) < 260
    assert all(many.traces(SESSION, sequence) for sequence in traced)


def test_none_and_all() -> None:
    for share, expected in ((0.0, 0), (1.0, 100)):
        sink = RecordedSpans()
        tracer = FrameTracer("sender", sink, share)
        for sequence in range(100):
            tracer.record(SESSION, sequence, ROOT, 1.0, 2.0)
        assert len(sink.spans) == expected


def test_span_of_stepped_clocks_does_not_end_before_it_begins() -> None:
    sink = RecordedSpans()
    with FrameTracer("sender", sink) as tracer:
        tracer.record(SESSION, 0, ROOT, 2.0, 1.0)
        assert not sink.closed
    assert sink.times() == {ROOT: (2.0, 2.0)} and sink.closed


def test_span_of_a_forged_clock_does_not_begin_before_1970() -> None:
    sink = RecordedSpans()
    FrameTracer("receiver", sink).record(SESSION, 0, ROOT, -4e9, -3e9)
    assert sink.times() == {ROOT: (0.0, 0.0)}


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "common.io.otlp", None)
    with TracingConfig().start("sender", "0") as tracer:
        assert not tracer.traces(SESSION, 0) and tracer.record(SESSION, 0, ROOT, 1.0, 2.0) == 0
    with pytest.raises(UsageError, match=r"pip install \"bodywire\[tracing\]\""):
        TracingConfig("http://127.0.0.1:4318").start("sender", "0")


def test_wrong_options() -> None:
    for url in ("127.0.0.1:4318", "grpc://host:4317", "http://", "http://host:99999", ""):
        with pytest.raises(ValueError, match="--traces"):
            TracingConfig(url)
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="--trace-share"):
            TracingConfig(trace_share=share)
