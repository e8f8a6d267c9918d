from dataclasses import dataclass, field

import numpy as np

from common.clock import Clock
from common.codec.frame_state import EncodedFrame
from common.frames import Camera, LabelFrame, PersonLabels
from common.labels import LABEL_SIZE, split
from common.wire.traffic import LABELS, Traffic
from sender.capture.source import FrameSource
from sender.congestion.capacity import PacketTrainSample
from sender.metrics import SenderMetrics
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
