import pytest

from common.clock import Clock
from common.frames import Camera, LabelFrame
from common.io.tracing import ROOT, FrameTracer
from sender.link.observer import Fate
from sender.traces import SenderTraces
from tests.support.recorded_spans import RecordedSpans

SESSION = bytes(range(16))
FRAME = LabelFrame(5, "clip.mp4", 100.0, Camera(8, 8, 10.0), ())


class EncodedFrame:
    payload = b"x" * 51
    bytes_by_group: dict[str, float] = {}  # noqa: RUF012
    key = False


@pytest.fixture
def wall() -> list[float]:
    return [100.0]


@pytest.fixture
def sink() -> RecordedSpans:
    return RecordedSpans()


@pytest.fixture
def traces(sink: RecordedSpans, wall: list[float]) -> SenderTraces:
    return SenderTraces(FrameTracer("sender", sink), SESSION, Clock(wall=lambda: wall[0]))


def test_frame_from_capture_to_acknowledgement(traces: SenderTraces, sink: RecordedSpans, wall: list[float]) -> None:
    traces.captured(5, 99.9, 100.1)
    wall[0] = 100.1
    with traces.stage(5, "perception"):
        wall[0] = 100.2
    traces.sent(FRAME, EncodedFrame(), again=False)
    wall[0] = 100.5
    traces.ended(FRAME, Fate.ACKNOWLEDGED)
    assert sink.times() == {
        "capture": (99.9, 100.1),
        "perception": (100.1, 100.2),
        "link": (100.2, 100.5),
        ROOT: (100.0, 100.5),
    }
    link, root = sink.spans[-2:]
    assert link.attributes == {"bodywire.payload_bytes": 51}
    assert root.attributes["bodywire.fate"] == "acknowledged"
    assert root.attributes["bodywire.session"] == SESSION.hex()


def test_link_span_of_a_frame_that_is_sent_again_is_that_of_the_last_attempt(
    traces: SenderTraces, sink: RecordedSpans, wall: list[float]
) -> None:
    traces.sent(FRAME, EncodedFrame(), again=False)
    wall[0] = 103.0
    traces.sent(FRAME, EncodedFrame(), again=True)
    wall[0] = 103.2
    traces.ended(FRAME, Fate.ACKNOWLEDGED)
    assert sink.times()["link"] == (103.0, 103.2)


def test_superseded_frame_has_no_link_span_and_a_stage_that_raises_has_one(
    traces: SenderTraces, sink: RecordedSpans
) -> None:
    with pytest.raises(RuntimeError), traces.stage(5, "perception"):
        raise RuntimeError
    traces.ended(FRAME, Fate.SUPERSEDED)
    assert [span.name for span in sink.spans] == ["perception", ROOT]


def test_nothing_is_remembered_of_frames_that_are_not_traced(sink: RecordedSpans) -> None:
    traces = SenderTraces(FrameTracer("sender", sink, share=0.0), SESSION)
    traces.sent(FRAME, EncodedFrame(), again=False)
    assert traces._sent == {}
