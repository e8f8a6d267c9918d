from dataclasses import dataclass, field

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from common.clock import Clock
from common.codec.frame_state import EncodedFrame
from common.frames import Camera, LabelFrame, PersonLabels
from common.labels import LABEL_SIZE, split
from common.wire.frame_messages import MAX_TIME_MS
from common.wire.traffic import LABELS, Traffic
from sender.capture.source import FrameSource
from sender.congestion.capacity import PacketTrainSample
from sender.link_account import Reporter
from sender.metrics import SenderMetrics, together
from sender.rate.controller import RateController
from sender.rate.policy import RateConfig
from sender.status import SenderStatus
from tests.support.link.link_samples import sample


@dataclass
class Testbed:
    """A status whose clock the test sets."""

    __test__ = False
    live: bool = False
    length: int | None = None
    fps: float | None = None
    now_s: float = 100.0
    metrics: SenderMetrics = field(default_factory=SenderMetrics)

    def __post_init__(self) -> None:
        testbed = self

        class Source(FrameSource):
            live, fps = testbed.live, testbed.fps

            @property
            def length(self) -> int | None:
                return testbed.length

        clock = Clock(lambda: self.now_s, lambda: self.now_s)
        self.rate = RateController(RateConfig())
        self.traffic = Traffic(clock=clock)
        self.status = SenderStatus(self.rate, self.metrics, Source(), self.traffic, clock)

    def deliver(self, sequence: int, people: int = 1) -> None:
        """A frame that was captured 80 ms ago is sent and acknowledged."""
        labels = split(np.zeros(LABEL_SIZE, np.float32))
        crowd = tuple(PersonLabels(identity, 0.9, labels) for identity in range(people))
        frame = LabelFrame(sequence, "clip", self.now_s - 0.08, Camera(8, 8, 10.0), crowd)
        self.status.sent((frame,), EncodedFrame(bytes(50), {}, 0.0, 0, False, 0, None))
        self.traffic.count(LABELS, 80)
        self.status.acknowledged((frame,), sample(rtt_ms=12.0, sequence=sequence))

    @property
    def line(self) -> str:
        return " | ".join(self.status.parts())


def test_figures_of_the_last_seconds() -> None:
    bed = Testbed()
    bed.status.connected()
    for sequence in range(100):
        bed.deliver(sequence, people=2)
        bed.now_s += 0.1
    assert bed.line == (
        "connected | 10.0 fps | link 12 kbit/s | age 180 ms | 2 people | labels 50 B/frame | round trip 12 ms"
    )


def test_a_late_acknowledgement_of_what_was_given_up_measures_the_link() -> None:
    bed = Testbed()
    bed.status.connected()
    bed.deliver(0)
    bed.status.acknowledged((), sample(rtt_ms=900.0, sequence=1))
    assert "round trip 900 ms" in bed.line and "age 80 ms" in bed.line


def test_frames_of_a_video_are_counted_here_beside_those_that_it_has() -> None:
    bed = Testbed(fps=30.0)
    for sequence in range(100):
        bed.deliver(sequence)
        bed.now_s += 0.5
    assert " | 2.0 of 30 fps | " in bed.line and "age" not in bed.line


def test_the_capacity_is_a_lower_bound_until_it_was_measured() -> None:
    bed = Testbed()
    bed.rate.on_packet_train(PacketTrainSample(2.5e6, 1.0), 0.0)
    assert "capacity at least 2.5 Mbit/s" in bed.line
    bed.rate.on_packet_train(PacketTrainSample(1e6, 10.0), 0.0)
    assert "capacity 1.0 Mbit/s" in bed.line


def test_progress_of_a_file_counts_what_an_earlier_run_has_delivered() -> None:
    bed = Testbed(length=300)
    assert "0/300 frames" in bed.line and "left" not in bed.line
    for sequence in range(200, 251):
        bed.deliver(sequence)
        bed.now_s += 1.0
    # 49 frames, at 50 frames in 51 seconds.
    assert "251/300 frames" in bed.line and "0:50 left" in bed.line


def test_only_a_camera_is_lost() -> None:
    assert "camera" not in Testbed().line
    bed = Testbed(live=True)
    bed.metrics.camera_up(True)
    assert "camera" not in bed.line
    bed.metrics.camera_up(False)
    assert "camera lost" in bed.line


def test_sender_without_receiver_shows_what_it_records() -> None:
    testbed = Testbed(length=4)
    labels = split(np.zeros(LABEL_SIZE, np.float32))
    for sequence in range(2):
        testbed.now_s += 1.0
        person = PersonLabels(0, 0.9, labels)
        testbed.status.recorded(LabelFrame(sequence, "clip", testbed.now_s, Camera(8, 8, 10.0), (person,)))
    line = testbed.line
    assert "recording" in line and "receiver" not in line
    assert "2/4 frames" in line and "1 person" in line


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> SenderMetrics:
    return SenderMetrics(registry)


def test_reconnects_leave_out_the_first_connection(metrics: SenderMetrics, registry: CollectorRegistry) -> None:
    counts = []
    for connected in (True, False, False, True, False, True):
        metrics.peer_connected(connected)
        counts.append(registry.get_sample_value("bodywire_sender_reconnects_total"))
    assert counts == [0, 0, 0, 1, 1, 2]


def test_offered_frame_counts_people_and_confidence(metrics: SenderMetrics, registry: CollectorRegistry) -> None:
    metrics.frame_offered([PersonLabels(0, 0.9, {}, confidence={"root": 0.5}), PersonLabels(1, 0.7, {})])
    assert registry.get_sample_value("bodywire_sender_people") == 2
    assert registry.get_sample_value("bodywire_sender_person_score_sum") == pytest.approx(1.6)
    assert registry.get_sample_value("bodywire_sender_label_confidence_sum", {"group": "root"}) == 0.5
    metrics.frame_offered([])
    assert registry.get_sample_value("bodywire_sender_people") == 0
    assert registry.get_sample_value("bodywire_sender_frames_total", {"fate": "offered"}) == 2


def test_an_account_below_zero_ends_no_sender() -> None:
    metrics = SenderMetrics()
    metrics.frames_sent(1, {"root": 12, "header": -1})
    assert metrics.registry.get_sample_value("bodywire_sender_label_bytes_total", {"group": "root"}) == 12


def test_several_cameras_are_summed_and_the_worst_state_shows() -> None:
    first, second = SenderMetrics(), SenderMetrics(CollectorRegistry())
    for number, camera in enumerate((first, second), 1):
        camera.frames_sent(2, {"root": 10 * number})
        camera.frame_offered([PersonLabels(0, 0.9, {})] * number)
        camera.set_link(bandwidth_bps=8.0, rtt_ms=1e3 * number, capacity_bps=0.0, stress=0.0)
        with camera.stage("codec"):
            pass
    first.peer_connected(True)
    registry = together([first, second])
    values = {
        name: registry.get_sample_value(f"bodywire_sender_{name}")
        for name in ("people", "connected", "delay_seconds", "bandwidth_bytes_per_second", "person_score_count")
    } | {
        "messages": registry.get_sample_value("bodywire_sender_messages_total"),
        "sent": registry.get_sample_value("bodywire_sender_frames_total", {"fate": "sent"}),
    }
    expected = {"people": 3, "connected": 0, "delay_seconds": 2, "bandwidth_bytes_per_second": 2, "messages": 2}
    assert values == {**expected, "person_score_count": 3, "sent": 4}
    assert registry.get_sample_value("bodywire_sender_label_bytes_total", {"group": "root"}) == 30
    assert registry.get_sample_value("bodywire_sender_stage_seconds_count", {"stage": "codec"}) == 2
    began = [camera.registry.get_sample_value("bodywire_sender_reconnects_created") for camera in (first, second)]
    assert registry.get_sample_value("bodywire_sender_reconnects_created") == min(filter(None, began))
    assert registry.get_sample_value("process_resident_memory_bytes") is not None
    assert {family.name for family in registry.collect()} == {family.name for family in first.registry.collect()}


def test_report_is_due_once_a_second_with_new_means() -> None:
    now_s, metrics = [100.0], SenderMetrics()
    reporter = Reporter(RateController(RateConfig()), metrics, clock=Clock(monotonic=lambda: now_s[0]))
    metrics.follows_up_to(3)
    metrics.camera_frame()
    with metrics.stage("perception") as first, metrics.stage("capture"):
        pass
    with metrics.stage("perception") as second:
        pass
    report = reporter.due()
    assert report is not None and report.stages_ms["perception"] == pytest.approx((first.ms + second.ms) / 2)
    assert report.capacity_bps is None and report.round_trip_ms is None and report.people_limit == 3
    assert report.camera_fps is None, "it is not known since when"
    now_s[0] += 0.9
    assert reporter.due() is None
    now_s[0] += 0.1
    for _ in range(30):
        metrics.camera_frame()
    report = reporter.due()
    assert report is not None and report.stages_ms == {} and report.camera_fps == pytest.approx(30)
    now_s[0] += 1
    report = reporter.due()
    assert report is not None and report.camera_fps is None, "a file has no camera"


def test_every_picture_has_a_report() -> None:
    reporter = Reporter(RateController(RateConfig()), SenderMetrics(), stills=True)
    assert reporter.due() is not None and reporter.due() is not None


def test_source_that_was_idle_for_days_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = SenderMetrics()
    monkeypatch.setattr(metrics, "take_stage_means_ms", lambda: {"capture": 1e9, "unreported": 1.0})
    report = Reporter(RateController(RateConfig()), metrics).due()
    assert report is not None and report.stages_ms == {"capture": MAX_TIME_MS}
