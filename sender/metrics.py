"""The sender's Prometheus metrics; callers use the methods and do not depend on the names of the metrics."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from threading import Lock

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary

from common.frames import PersonLabels
from common.io.telemetry import SCORE_BUCKETS, StageSpan, StageTimes, daemon_registry
from common.labels import GROUP_NAMES

STAGES = ("capture", "perception", "preview", "semantics", "colours", "codec", "channel")
ROUND_TRIP_BUCKETS_S = (0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
CHANNEL_FATES = ("encoded", "replaced", "failed")
_BYTE_GROUPS = ("header", *GROUP_NAMES)


class DropReason(StrEnum):
    """Values of the label `fate` besides `offered`, `sent` and `acknowledged`."""

    REPLACED = "replaced"  # by a newer frame of a live source, before it was processed or sent
    UNREADABLE = "unreadable"  # a file of a folder that is no readable image
    EMPTY = "empty"  # without people; sent all the same
    LATE = "late"  # decoded by the receiver, which did not reconstruct it in time
    UNACKNOWLEDGED = "unacknowledged"  # sent, but rejected by the receiver


class StagePasses:
    """Sums of the durations of passes, from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._passes: dict[str, tuple[int, float]] = {}

    def add(self, stage: str, duration_ms: float) -> None:
        """Adds a pass."""
        with self._lock:
            passes, sum_ms = self._passes.get(stage, (0, 0.0))
            self._passes[stage] = passes + 1, sum_ms + duration_ms

    def take_means_ms(self) -> dict[str, float]:
        """Mean durations by stage; the sums begin anew."""
        with self._lock:
            taken, self._passes = self._passes, {}
        return {stage: sum_ms / passes for stage, (passes, sum_ms) in taken.items()}


_FATES = ("offered", "sent", "acknowledged", *DropReason)


class SenderMetrics:
    """The sender's counters, gauges and histograms, in their own registry.

    Every label value is exported from the beginning: a rate is zero, and not missing, until the first event.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry = daemon_registry() if registry is None else registry
        self._stages = StageTimes(registry, "bodywire_sender_stage_seconds", STAGES)
        self._passes = StagePasses()
        self._define_frames(registry)
        self._define_people(registry)
        self._define_link(registry)
        self._define_channel(registry)
        self._camera = Gauge("bodywire_sender_camera_up", "1 while the source can deliver frames", registry=registry)
        self.camera_is_up = False

    def _define_frames(self, registry: CollectorRegistry) -> None:
        self._frames = Counter("bodywire_sender_frames", "Frames by fate", ["fate"], registry=registry)
        self._bytes = Counter(
            "bodywire_sender_label_bytes", "Payload bytes by label group", ["group"], registry=registry
        )
        self._blob_bytes = Counter(
            "bodywire_sender_bulk_bytes", "Bytes of blobs, sent in the gaps between frames", registry=registry
        )
        self._rho = Gauge(
            "bodywire_sender_rho", "Compression ρ of a label group (eq. 17)", ["group"], registry=registry
        )
        self._spooled = Gauge(
            "bodywire_sender_spooled_frames", "Undelivered frames in the spool on disk", registry=registry
        )
        for fate in _FATES:
            self._frames.labels(fate)
        for group in _BYTE_GROUPS:
            self._bytes.labels(group)
        for group in GROUP_NAMES:
            self._rho.labels(group)

    def _define_people(self, registry: CollectorRegistry) -> None:
        self._people = Gauge("bodywire_sender_people", "People in the newest frame", registry=registry)
        self._scores = Histogram(
            "bodywire_sender_person_score",
            "Probability that a tracked person is a person, one value per person and frame",
            buckets=SCORE_BUCKETS,
            registry=registry,
        )
        self._confidence = Summary(
            "bodywire_sender_label_confidence",
            "Confidence of a label group, one value per person and frame",
            ["group"],
            registry=registry,
        )
        for group in GROUP_NAMES:
            self._confidence.labels(group)

    def _define_link(self, registry: CollectorRegistry) -> None:
        self._round_trip = Histogram(
            "bodywire_sender_round_trip_seconds",
            "Seconds from sending a frame to its acknowledgement",
            buckets=ROUND_TRIP_BUCKETS_S,
            registry=registry,
        )
        self._bandwidth = Gauge(
            "bodywire_sender_bandwidth_bytes_per_second", "Bandwidth B(t) (eq. 15)", registry=registry
        )
        self._delay = Gauge("bodywire_sender_delay_seconds", "Delay D(t) (eq. 16)", registry=registry)
        self._capacity = Gauge(
            "bodywire_sender_capacity_bytes_per_second", "Estimated capacity of the link", registry=registry
        )
        self._stress = Gauge("bodywire_sender_link_stress", "Link stress f in eq. 17, 0 is none", registry=registry)
        self._window = Gauge(
            "bodywire_sender_window_frames", "Frames that may be unacknowledged at present", registry=registry
        )
        self._outstanding = Gauge(
            "bodywire_sender_outstanding_frames",
            "Frames offered and not settled yet",
            registry=registry,
        )
        self._connected = Gauge("bodywire_sender_connected", "1 while a receiver is connected", registry=registry)
        self._reconnects = Counter(
            "bodywire_sender_reconnects", "Connections made again after a loss", registry=registry
        )
        self._failovers = Counter(
            "bodywire_sender_failovers", "Connections to another receiver of --peer than before", registry=registry
        )
        self._was_connected = False

    def _define_channel(self, registry: CollectorRegistry) -> None:
        self._channel_pictures = Counter(
            "bodywire_sender_channel_pictures", "Pictures of --channel by fate", ["fate"], registry=registry
        )
        for fate in CHANNEL_FATES:
            self._channel_pictures.labels(fate)
        self._channel_uses = Counter(
            "bodywire_sender_channel_uses", "Uses of the simulated channel by pictures", registry=registry
        )
        self._channel_ratio = Gauge(
            "bodywire_sender_channel_bandwidth_ratio", "Channel uses per colour value of a pixel", registry=registry
        )
        self._channel_snr = Gauge(
            "bodywire_sender_channel_snr_decibels", "SNR of the simulated channel", registry=registry
        )
        self._channel_snr.set(math.nan)

    @contextmanager
    def stage(self, name: str) -> Iterator[StageSpan]:
        """Times one pass: `with metrics.stage("perception") as span:`; afterwards, `span.ms` is the duration."""
        with self._stages.stage(name) as span:
            yield span
        self._passes.add(name, span.ms)

    def take_stage_means_ms(self) -> dict[str, float]:
        """Mean duration of the passes since the last call, by stage; stages without a pass are left out."""
        return self._passes.take_means_ms()

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

    def frame_sent(self, bytes_by_group: Mapping[str, int]) -> None:
        """Counts a sent frame; `bytes_by_group` may have keys that are no label group, such as `header`."""
        self._frames.labels("sent").inc()
        for group, size in bytes_by_group.items():
            self._bytes.labels(group).inc(size)

    def blob_bytes_sent(self, size: int) -> None:
        self._blob_bytes.inc(size)

    def frame_acknowledged(self, round_trip_ms: float) -> None:
        self._frames.labels("acknowledged").inc()
        self._round_trip.observe(round_trip_ms / 1e3)

    def frame_dropped(self, fate: DropReason) -> None:
        self._frames.labels(fate.value).inc()

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

    def channel_configured(self, snr_db: float) -> None:
        """Pictures are sent over a simulated channel of this SNR."""
        self._channel_snr.set(snr_db)

    def channel_picture_encoded(self, uses: int, bandwidth_ratio: float) -> None:
        """A picture takes so many channel uses."""
        self._channel_pictures.labels("encoded").inc()
        self._channel_uses.inc(uses)
        self._channel_ratio.set(bandwidth_ratio)

    def channel_picture_replaced(self) -> None:
        """A picture was replaced by a newer one before it was encoded."""
        self._channel_pictures.labels("replaced").inc()

    def channel_picture_failed(self) -> None:
        """A picture does not fit the bandwidth ratio."""
        self._channel_pictures.labels("failed").inc()

    def camera_up(self, up: bool) -> None:
        self.camera_is_up = up
        self._camera.set(up)

    def failed_over(self) -> None:
        """Counts a connection to another receiver than the one before."""
        self._failovers.inc()

    def peer_connected(self, connected: bool) -> None:
        """Records that the link was connected or lost; each connection but the first is a reconnect."""
        self._connected.set(connected)
        if connected and self._was_connected:
            self._reconnects.inc()
        self._was_connected = self._was_connected or connected
