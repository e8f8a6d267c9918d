"""The receiver's Prometheus metrics; other modules call these verbs and do not know metric names."""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from common.arrays import FloatArray
from common.io.telemetry import SCORE_BUCKETS, STAGE_BUCKETS_S, StageSpan, StageTimes, daemon_registry
from common.labels import GROUP_NAMES
from receiver.link.refusals import Refusal
from receiver.status import ReceiverStatus

STAGES = ("codec", "queue", "decode", "diffusion", "body", "surface", "publish", "channel", "completion")
CHANNEL_FATES = ("decoded", "replaced", "refused")
MESH_KINDS = ("surface", "body")

BATCH_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 32)
ENGINES = ("local", "ray")
AGE_BUCKETS_S = (0.01, 0.03, 0.05, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 60.0)


class DropReason(StrEnum):
    """Why a packet did not become a published frame."""

    DUPLICATE = "duplicate"  # already published, resent after a reconnect
    MALFORMED = "malformed"  # truncated, corrupted, of another model or inconsistent
    UNDECODABLE = "undecodable"  # its reference is missing
    LATE = "late"  # of a live session, decoded but not reconstructed because it had waited too long


class PictureFate(StrEnum):
    """What became of an uploaded picture."""

    RECONSTRUCTED = "reconstructed"  # with or without people
    REFUSED = "refused"  # no readable picture
    UNAVAILABLE = "unavailable"  # too many at a time, too slow, or its sender process has ended


_FATES = ("received", "published", *DropReason)


class ReceiverMetrics:
    """The receiver's counters, gauges and histograms in a registry of its own.

    Every label value is exported from the beginning: a rate is zero, and not missing, until the first event.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry = daemon_registry() if registry is None else registry
        self.status = ReceiverStatus()
        self._stages = StageTimes(registry, "bodywire_receiver_stage_seconds", STAGES)
        self._define_frames(registry)
        self._define_people(registry)
        self._define_engine(registry)
        self._define_sessions(registry)
        self._define_pictures(registry)
        self._define_channel(registry)

    def _define_frames(self, registry: CollectorRegistry) -> None:
        self._frames = Counter("bodywire_receiver_frames", "Frames by fate", ["fate"], registry=registry)
        self._bytes = Counter("bodywire_receiver_label_bytes", "Payload by label group", ["group"], registry=registry)
        self._bulk = Counter("bodywire_receiver_bulk_bytes", "Blobs received beside the frames", registry=registry)
        self._age = Histogram(
            "bodywire_receiver_frame_age_seconds",
            "From capture to published mesh",
            buckets=AGE_BUCKETS_S,
            registry=registry,
        )
        self._clock_error = Gauge("bodywire_receiver_clock_error_seconds", "Uncertainty of the age", registry=registry)
        self._clock_error.set(math.nan)
        self._meshes = Counter("bodywire_receiver_meshes", "Published meshes by kind", ["kind"], registry=registry)
        self._disk_free = Gauge(
            "bodywire_receiver_disk_free_bytes", "Room on the disk of the output directory", registry=registry
        )
        self._disk_size = Gauge(
            "bodywire_receiver_disk_size_bytes", "Size of the disk of the output directory", registry=registry
        )
        for fate in _FATES:
            self._frames.labels(fate)
        for group in ("header", *GROUP_NAMES):
            self._bytes.labels(group)
        for kind in MESH_KINDS:
            self._meshes.labels(kind)

    def _define_pictures(self, registry: CollectorRegistry) -> None:
        self._pictures = Counter("bodywire_receiver_pictures", "Uploaded pictures by fate", ["fate"], registry=registry)
        self._picture = Histogram(
            "bodywire_receiver_picture_seconds",
            "From an uploaded picture to its meshes",
            buckets=AGE_BUCKETS_S,
            registry=registry,
        )
        self._process_ends = Counter(
            "bodywire_receiver_sender_process_ends", "Sender processes that ended by themselves", registry=registry
        )
        for fate in PictureFate:
            self._pictures.labels(fate)

    def _define_channel(self, registry: CollectorRegistry) -> None:
        self._channel_pictures = Counter(
            "bodywire_receiver_channel_pictures", "Pictures of sender --channel by fate", ["fate"], registry=registry
        )
        for fate in CHANNEL_FATES:
            self._channel_pictures.labels(fate)
        self._channel_uses = Counter(
            "bodywire_receiver_channel_uses", "Uses of the simulated channel by pictures", registry=registry
        )
        self._channel_ratio = Gauge(
            "bodywire_receiver_channel_bandwidth_ratio", "Channel uses per colour value of a pixel", registry=registry
        )
        self._channel_snr = Gauge(
            "bodywire_receiver_channel_snr_decibels", "SNR of the simulated channel", ["kind"], registry=registry
        )
        for kind in ("configured", "measured"):
            self._channel_snr.labels(kind).set(math.nan)

    def _define_people(self, registry: CollectorRegistry) -> None:
        self._scores = Histogram(
            "bodywire_receiver_person_score",
            "Probability that a published person is a person, one value per person and frame",
            buckets=SCORE_BUCKETS,
            registry=registry,
        )
        self._keypoint_scores = Histogram(
            "bodywire_receiver_keypoint_score",
            "Confidence of the published keypoints, 17 values per person and frame",
            buckets=SCORE_BUCKETS,
            registry=registry,
        )
        self._left_out = Counter("bodywire_receiver_people_left_out", "People beyond --peer-people", registry=registry)

    def _define_engine(self, registry: CollectorRegistry) -> None:
        self._engine = Gauge("bodywire_receiver_engine", "1 for the kind of engine in use", ["kind"], registry=registry)
        self._replicas = Gauge(
            "bodywire_receiver_engine_replicas", "Replicas of the networks that take batches", registry=registry
        )
        self._batches = Histogram(
            "bodywire_receiver_engine_batch_people",
            "People that go through the networks together",
            buckets=BATCH_BUCKETS,
            registry=registry,
        )
        self._waited = Histogram(
            "bodywire_receiver_engine_queue_seconds",
            "From a frame's request to the batch that its person is in",
            buckets=STAGE_BUCKETS_S,
            registry=registry,
        )
        self._served = Histogram(
            "bodywire_receiver_engine_service_seconds",
            "From a batch that is taken to the result of a person in it",
            buckets=STAGE_BUCKETS_S,
            registry=registry,
        )
        self._retries = Counter(
            "bodywire_receiver_engine_retries", "Batches given to another replica after a loss", registry=registry
        )
        self._queued = Gauge(
            "bodywire_receiver_queued_people", "People that wait for the reconstruction engine", registry=registry
        )
        for kind in ENGINES:
            self._engine.labels(kind)

    def _define_sessions(self, registry: CollectorRegistry) -> None:
        self._refused = Counter("bodywire_receiver_refused", "Refused streams by reason", ["reason"], registry=registry)
        self._peers = Gauge("bodywire_receiver_peers", "Sessions that have begun and not ended", registry=registry)
        self._streams = Gauge("bodywire_receiver_streams", "Sessions whose sender is connected", registry=registry)
        for reason in Refusal:
            self._refused.labels(reason)

    def stage(self, name: str) -> AbstractContextManager[StageSpan]:
        """`with metrics.stage("publish") as span:` times one pass; `span.ms` is its time afterwards."""
        return self._stages.stage(name)

    def stage_passed(self, name: str, spent_ms: float) -> None:
        """Records a pass through a stage that the reconstruction engine timed."""
        self._stages.observe(name, spent_ms / 1e3)

    def frame_received(self, bytes_by_group: Mapping[str, int]) -> None:
        """One packet was received; `bytes_by_group` may have entries beside the label groups, such as `header`."""
        self._frames.labels("received").inc()
        for group, size in bytes_by_group.items():
            self._bytes.labels(group).inc(size)
        self.status.frame_received(sum(bytes_by_group.values()))

    def blob_bytes_received(self, size: int) -> None:
        self._bulk.inc(size)

    def frame_published(
        self, age_ms: float | None, clock_error_ms: float | None, *, session: int = 1, people: int = 0
    ) -> None:
        """A frame's meshes and its line in `frames.jsonl` are written.

        An unknown age is not counted; one below zero, within the error of the clocks, counts as zero.
        """
        self._frames.labels("published").inc()
        if age_ms is not None:
            self._age.observe(max(age_ms, 0.0) / 1e3)
        self.status.frame_published(session, people, age_ms)
        self._clock_error.set(float("nan") if clock_error_ms is None else clock_error_ms / 1e3)

    def person_published(self, score: float, keypoint_scores: FloatArray) -> None:
        """One person of a frame is published.

        Args:
            score: probability that it is a person, 0…1.
            keypoint_scores: (17,) 0…1.
        """
        self._scores.observe(score)
        for keypoint_score in keypoint_scores:
            self._keypoint_scores.observe(float(keypoint_score))

    def frame_dropped(self, fate: DropReason) -> None:
        self._frames.labels(fate.value).inc()

    def channel_picture_decoded(
        self, uses: int, bandwidth_ratio: float, snr_db: float, measured_snr_db: float | None
    ) -> None:
        """A picture came over the simulated channel.

        Args:
            snr_db: that the sender has chosen.
            measured_snr_db: from its known symbols; None if they had no noise.
        """
        self._channel_pictures.labels("decoded").inc()
        self._channel_uses.inc(uses)
        self._channel_ratio.set(bandwidth_ratio)
        self._channel_snr.labels("configured").set(snr_db)
        self._channel_snr.labels("measured").set(math.nan if measured_snr_db is None else measured_snr_db)

    def channel_picture_dropped(self, fate: str) -> None:
        """A picture was `replaced` by a newer one before it was decoded, or `refused`."""
        self._channel_pictures.labels(fate).inc()

    def people_left_out(self, count: int) -> None:
        """People of a frame were not reconstructed, because one sender may have only so many."""
        self._left_out.inc(count)

    def engine_started(self, kind: str) -> None:
        """The engine is of this kind, one of `ENGINES`."""
        self._engine.labels(kind).set(1)

    def replicas_running(self, count: int) -> None:
        """So many replicas of the networks take batches now."""
        self._replicas.set(count)

    def batch_taken(self, people: int) -> None:
        """So many people go through the networks together."""
        self._batches.observe(people)

    def person_taken(self, waited_s: float) -> None:
        """A person has waited for a batch for so long."""
        self._waited.observe(waited_s)

    def person_finished(self, served_s: float) -> None:
        """A person was finished so long after the batch was taken."""
        self._served.observe(served_s)

    def batch_retried(self) -> None:
        """A batch is reconstructed again, because its replica was lost."""
        self._retries.inc()

    def mesh_published(self, kind: str) -> None:
        """One mesh file, `surface` or `body`, is written."""
        self._meshes.labels(kind).inc()
        self.status.mesh_published()

    def stream_refused(self, reason: str) -> None:
        """A stream was refused (`receiver.link.refusals.Refusal`)."""
        self._refused.labels(reason).inc()

    def picture_passed(self, fate: PictureFate, spent_s: float) -> None:
        """An uploaded picture was answered; the time of those that were reconstructed is observed."""
        self._pictures.labels(fate.value).inc()
        if fate is PictureFate.RECONSTRUCTED:
            self._picture.observe(spent_s)

    def sender_process_ended(self) -> None:
        """A sender process of the receiver has ended by itself."""
        self._process_ends.inc()

    def peer_connected(self) -> None:
        self._peers.inc()
        self.status.sessions_changed(1)

    def peer_left(self) -> None:
        self._peers.dec()
        self.status.sessions_changed(-1)

    def watch_streams(self, streams: Callable[[], int]) -> None:
        """Calls `streams` for the number of sessions whose sender is connected at each scrape."""
        self._streams.set_function(streams)

    def watch_queue(self, people: Callable[[], int]) -> None:
        """Calls `people` for the length of the engine's queue at each scrape."""
        self._queued.set_function(people)

    def watch_disk(self, free_and_size_bytes: Callable[[], tuple[float, float]]) -> None:
        """Calls `free_and_size_bytes` for the disk of the output directory at each scrape."""
        self._disk_free.set_function(lambda: free_and_size_bytes()[0])
        self._disk_size.set_function(lambda: free_and_size_bytes()[1])
