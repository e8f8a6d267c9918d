"""The sender's Prometheus metrics; callers use the methods and do not depend on the names of the metrics."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from operator import add
from threading import Lock

from prometheus_client import CollectorRegistry, Metric, Summary
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from common.frames import PersonLabels
from common.io.telemetry import DaemonMetrics, StageSpan
from common.labels import GROUP_NAMES

STAGES = ("capture", "perception", "preview", "semantics", "expression", "wears", "colours", "codec", "channel")
PARTS = ("perception", "semantics", "hands", "face", "preview", "wears", "colours", "channel")
"""What a frame goes on without where it fails (`sender.labelling`)."""
ROUND_TRIP_BUCKETS_S = (0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
CHANNEL_FATES = ("encoded", "failed")


class DropReason(StrEnum):
    """Values of the label `fate` besides `offered`, `sent` and `acknowledged`."""

    REPLACED = "replaced"  # by a newer frame of a live source, before it was processed or sent
    UNREADABLE = "unreadable"  # a picture, or a frame of a video, that is damaged, too large, or cannot be read
    EMPTY = "empty"  # without people; sent all the same
    LATE = "late"  # decoded by the receiver, which did not reconstruct it in time
    UNACKNOWLEDGED = "unacknowledged"  # sent, but lost (over QUIC) or rejected by the receiver


_LEFT_OUT = (DropReason.REPLACED, DropReason.LATE)
_FATES = ("offered", "sent", "acknowledged", *DropReason)
# Gauges that show the camera which is worst off; all else is summed over cameras.
_WORST: Mapping[str, Callable[[float, float], float]] = {
    **dict.fromkeys(("connected", "camera_up"), min),
    # All measure one link, and some of them more of it than others.
    **dict.fromkeys(("rho", "delay_seconds", "link_stress", "capacity_bytes_per_second"), max),
}


class SenderMetrics(DaemonMetrics):
    """The sender's counters, gauges and histograms, in their own registry."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        super().__init__("sender", STAGES, _FATES, CHANNEL_FATES, registry)
        # Number and summed duration of the passes of each stage; stages run in several threads.
        self._passes: dict[str, tuple[int, float]] = {}
        self._lock = Lock()
        self._camera_frames = 0
        self.left_out = 0
        """How many frames nobody sees because they were late."""
        self._rho = self._gauge("rho", "Compression ρ of a label group (eq. 17)", "group", GROUP_NAMES)
        self._spooled = self._gauge("spooled_frames", "Undelivered frames in the spool on disk")
        self._people = self._gauge("people", "People in the newest frame")
        self._people_limit = self._gauge("people_limit", "Most people followed at a time")
        self.people_limit: int | None = None
        self._confidence = Summary(
            "bodywire_sender_label_confidence",
            "Confidence of a label group, one value per person and frame",
            ["group"],
            registry=self.registry,
        )
        for group in GROUP_NAMES:
            self._confidence.labels(group)
        self._define_link()
        self._part_failures = self._counter(
            "part_failures", "Failures of a part of the sender; the frame went on without it", "part", PARTS
        )
        self.failures: Counter[str] = Counter()
        """How often each part has failed."""
        self._camera = self._gauge("camera_up", "1 while the source can deliver frames")
        self.camera_is_up = False

    def _define_link(self) -> None:
        self._round_trip = self._histogram(
            "round_trip_seconds", "Seconds from sending a frame to its acknowledgement", ROUND_TRIP_BUCKETS_S
        )
        self._messages = self._counter("messages", "Messages of frames sent; frames that waited share one")
        self._bandwidth = self._gauge("bandwidth_bytes_per_second", "Bandwidth B(t) (eq. 15)")
        self._delay = self._gauge("delay_seconds", "Delay D(t) (eq. 16)")
        self._capacity = self._gauge("capacity_bytes_per_second", "Estimated capacity of the link")
        self._stress = self._gauge("link_stress", "Link stress f in eq. 17, 0 is none")
        self._window = self._gauge("window_frames", "Frames that may be unacknowledged at present")
        self._outstanding = self._gauge("outstanding_frames", "Frames offered and not settled yet")
        self._connected = self._gauge("connected", "1 while a receiver is connected")
        self._reconnects = self._counter("reconnects", "Connections made again after a loss")
        self._was_connected = False

    @contextmanager
    def stage(self, name: str) -> Iterator[StageSpan]:
        """Times one pass: `with metrics.stage("perception") as span:`; afterwards, `span.ms` is the duration."""
        with super().stage(name) as span:
            yield span
        with self._lock:
            passes, sum_ms = self._passes.get(name, (0, 0.0))
            self._passes[name] = passes + 1, sum_ms + span.ms

    def take_stage_means_ms(self) -> dict[str, float]:
        """Mean duration of the passes since the last call, by stage; stages without a pass are left out."""
        with self._lock:
            taken, self._passes = self._passes, {}
        return {stage: sum_ms / passes for stage, (passes, sum_ms) in taken.items()}

    def frame_dropped(self, fate: str) -> None:
        super().frame_dropped(fate)
        self.left_out += fate in _LEFT_OUT

    def part_failed(self, part: str) -> None:
        """One of `PARTS` has failed at a frame."""
        with self._lock:
            self.failures[part] += 1
        self._part_failures.labels(part).inc()

    def camera_frame(self) -> None:
        """A live camera has given a frame, which is labelled or replaced by a newer one."""
        with self._lock:
            self._camera_frames += 1

    def take_camera_frames(self) -> int:
        """How many frames a live camera has given since the last call."""
        with self._lock:
            taken, self._camera_frames = self._camera_frames, 0
        return taken

    def follows_up_to(self, people: int) -> None:
        """At most so many people are followed at a time."""
        self.people_limit = people
        self._people_limit.set(people)

    def frame_offered(self, people: Sequence[PersonLabels]) -> None:
        """Counts a frame that was labelled and is given to the link, with the people in it."""
        self._frames.labels("offered").inc()
        if not people:
            self.frame_dropped(DropReason.EMPTY)
        self._people.set(len(people))
        for person in people:
            self._scores.observe(person.score)
            for group, confidence in person.confidence.items():
                self._confidence.labels(group).observe(confidence)

    def frames_sent(self, count: int, bytes_by_group: Mapping[str, int]) -> None:
        """Counts the frames of a message; `bytes_by_group` may have keys that are no label group, such as `header`."""
        self._messages.inc()
        self._count_frame("sent", bytes_by_group)
        self._frames.labels("sent").inc(count - 1)

    def frames_acknowledged(self, count: int, round_trip_ms: float) -> None:
        self._frames.labels("acknowledged").inc(count)
        self._round_trip.observe(round_trip_ms / 1e3)

    def set_rate(self, group: str, rho: float) -> None:
        self._rho.labels(group).set(rho)

    def set_link(self, bandwidth_bps: float, rtt_ms: float, capacity_bps: float, stress: float) -> None:
        """Sets the paper's B(t) and D(t), the capacity estimate that controls the rate, and the link stress f."""
        self._bandwidth.set(bandwidth_bps / 8)
        self._delay.set(rtt_ms / 1e3)
        self._capacity.set(capacity_bps / 8)
        self._stress.set(stress)

    def watch_link(self, window: Callable[[], int], outstanding: Callable[[], int]) -> None:
        """Calls these for the congestion window and the unsettled frames at each scrape."""
        self._window.set_function(window)
        self._outstanding.set_function(outstanding)

    def watch_spool(self, frames: Callable[[], int]) -> None:
        """Calls `frames` for the number of spooled frames at each scrape."""
        self._spooled.set_function(frames)

    def camera_up(self, up: bool) -> None:
        self.camera_is_up = up
        self._camera.set(up)

    def peer_connected(self, connected: bool) -> None:
        """Records that the link was connected or lost; each connection but the first is a reconnect."""
        self._connected.set(connected)
        if connected and self._was_connected:
            self._reconnects.inc()
        self._was_connected = self._was_connected or connected


class _Together(Collector):
    """The metrics of several cameras, under the names that those of one have."""

    def __init__(self, cameras: Sequence[SenderMetrics]) -> None:
        self._registries = [camera.registry for camera in cameras]

    def collect(self) -> Iterator[Metric]:
        together: dict[str, tuple[Metric, dict[object, Sample]]] = {}
        for family in (family for registry in self._registries for family in registry.collect()):
            _, samples = together.setdefault(family.name, (family, {}))
            combine = _WORST.get(family.name.removeprefix("bodywire_sender_"), add)
            for sample in family.samples:
                key = sample.name, *sorted(sample.labels.items())
                if (before := samples.get(key)) is not None:
                    # When a counter began is no amount.
                    of_both = min if sample.name.endswith("_created") else combine
                    sample = Sample(sample.name, sample.labels, of_both(before.value, sample.value))
                samples[key] = sample
        for family, samples in together.values():
            family.samples = list(samples.values())
            yield family

    def describe(self) -> Iterator[Metric]:
        return self.collect()


def together(cameras: Sequence[SenderMetrics]) -> CollectorRegistry:
    """What a process with these cameras exports; of them, the first one has the metrics of the process."""
    if len(cameras) == 1:
        return cameras[0].registry
    registry = CollectorRegistry()
    registry.register(_Together(cameras))
    return registry
