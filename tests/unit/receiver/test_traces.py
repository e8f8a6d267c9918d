from common.clock import Clock
from common.io.tracing import FrameTracer
from receiver.link.auth.ownership import SessionOwner
from receiver.link.frame_handler import Arrival, FrameOutcome
from receiver.link.session import SenderClock, Session
from receiver.traces import ReceiverTraces
from tests.support.recorded_spans import RecordedSpans

# The receiver's clock is 40 s ahead of the sender's; the frame arrived 0.5 s ago.
CLOCK = Clock(monotonic=lambda: 10.5, wall=lambda: 1040.5)
ARRIVAL = Arrival(10.0)


def session() -> Session:
    made = Session(bytes(16), "camera", True, decoder=None, owner=SessionOwner("", b""), account="a")  # type: ignore[arg-type]
    made.clock = SenderClock(40.0, 0.002)
    return made


def test_stages_lie_end_to_end_on_the_senders_clock() -> None:
    sink = RecordedSpans()
    stages_ms = {"codec": 100.0, "queue": 50.0, "decode": 150.0, "publish": 100.0}
    traces = ReceiverTraces(FrameTracer("receiver", sink), CLOCK)
    traces.finished(session(), 3, stages_ms, ARRIVAL, FrameOutcome.PUBLISHED)
    rounded = {name: (round(began, 6), round(ended, 6)) for name, (began, ended) in sink.times().items()}
    assert rounded == {
        "receive": (1000.0, 1000.5),
        "codec": (1000.0, 1000.1),
        "queue": (1000.1, 1000.15),
        "decode": (1000.15, 1000.3),
        "publish": (1000.4, 1000.5),
    }
    receive, *stages = sink.spans
    assert receive.attributes == {"bodywire.fate": "published", "bodywire.clock_error_ms": 2.0}
    assert {span.parent_id for span in stages} == {receive.span_id}


def test_stages_that_overlapped_end_with_the_frame() -> None:
    sink = RecordedSpans()
    stages_ms = {"surface": 9000.0, "x": 1.0}
    ReceiverTraces(FrameTracer("receiver", sink), CLOCK).finished(session(), 3, stages_ms, ARRIVAL, FrameOutcome.LATE)
    assert all(ended <= 1000.5 for _, ended in sink.times().values())
