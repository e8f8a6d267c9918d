"""The receiver's Prometheus metrics; other modules call these verbs and do not know metric names."""

import math
from collections.abc import Callable, Mapping
from enum import StrEnum

from prometheus_client import CollectorRegistry

from common.arrays import FloatArray
from common.io.telemetry import SCORE_BUCKETS, STAGE_BUCKETS_S, DaemonMetrics
from receiver.engine.observer import EngineObserver
from receiver.link.refusals import Refusal

STAGES = ("codec", "motion", "queue", "decode", "diffusion", "body", "surface", "publish", "channel")
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


_FATES = ("received", "published", *DropReason)


class ReceiverMetrics(DaemonMetrics, EngineObserver):
    """The receiver's counters, gauges and histograms in a registry of its own."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        super().__init__("receiver", STAGES, _FATES, CHANNEL_FATES, registry)
        self._age = self._histogram("frame_age_seconds", "From capture to published mesh", AGE_BUCKETS_S)
        self._clock_error = self._gauge("clock_error_seconds", "Uncertainty of the age")
        self._clock_error.set(math.nan)
        self._meshes = self._counter("meshes", "Published meshes by kind", "kind", MESH_KINDS)
        self._disk_free = self._gauge("disk_free_bytes", "Room on the disk of the output directory")
        self._disk_size = self._gauge("disk_size_bytes", "Size of the disk of the output directory")
        self._keypoint_scores = self._histogram(
            "keypoint_score", "Confidence of the published keypoints, 17 values per person and frame", SCORE_BUCKETS
        )
        self._left_out = self._counter("people_left_out", "People beyond the 16 of a frame that are reconstructed")
        self._engine = self._gauge("engine", "1 for the kind of engine in use", "kind", ENGINES)
        self._replicas = self._gauge("engine_replicas", "Replicas of the networks that take batches")
        self._batches = self._histogram(
            "engine_batch_people", "People that go through the networks together", BATCH_BUCKETS
        )
        self._waited = self._histogram(
            "engine_queue_seconds", "From a frame's request to the batch that its person is in", STAGE_BUCKETS_S
        )
        self._served = self._histogram(
            "engine_service_seconds", "From a batch that is taken to the result of a person in it", STAGE_BUCKETS_S
        )
        self._retries = self._counter("engine_retries", "Batches given to another replica after a loss")
        self._queued = self._gauge("queued_people", "People that wait for the reconstruction engine")
        self._refused = self._counter("refused", "Refused streams by reason", "reason", Refusal)
        self._peers = self._gauge("peers", "Sessions that have begun and not ended")
        self._streams = self._gauge("streams", "Sessions whose sender is connected")
        self._process_ends = self._counter("sender_process_ends", "Sender processes that ended by themselves")

    def stage_took(self, name: str, spent_ms: float) -> None:
        """Records a pass through a stage that was timed elsewhere."""
        self._stages.labels(name).observe(spent_ms / 1e3)

    def frame_received(self, bytes_by_group: Mapping[str, int]) -> None:
        """One packet was received; `bytes_by_group` may have entries beside the label groups, such as `header`."""
        self._count_frame("received", bytes_by_group)

    def frame_published(self, age_ms: float | None, clock_error_ms: float | None) -> None:
        """A frame was written; an unknown age is not counted, and one below zero, an error of clocks, is zero."""
        self._frames.labels("published").inc()
        if age_ms is not None:
            self._age.observe(max(age_ms, 0.0) / 1e3)
        self._clock_error.set(float("nan") if clock_error_ms is None else clock_error_ms / 1e3)

    def person_published(self, score: float, keypoint_scores: FloatArray) -> None:
        """One person of a frame is published, with the probability of a person and (17,) of keypoints, 0…1."""
        self._scores.observe(score)
        for keypoint_score in keypoint_scores:
            self._keypoint_scores.observe(float(keypoint_score))

    def people_left_out(self, count: int) -> None:
        """People of a frame were not reconstructed, because one sender may have only so many."""
        self._left_out.inc(count)

    def engine_started(self, kind: str) -> None:
        """The engine is of this kind, one of `ENGINES`."""
        self._engine.labels(kind).set(1)

    def replicas_running(self, count: int) -> None:
        self._replicas.set(count)

    def batch_taken(self, people: int) -> None:
        self._batches.observe(people)

    def person_taken(self, waited_s: float) -> None:
        self._waited.observe(waited_s)

    def person_finished(self, served_s: float) -> None:
        self._served.observe(served_s)

    def batch_retried(self) -> None:
        self._retries.inc()

    def mesh_published(self, kind: str) -> None:
        """One mesh file, `surface` or `body`, is written."""
        self._meshes.labels(kind).inc()

    def stream_refused(self, reason: str) -> None:
        """A stream was refused (`receiver.link.refusals.Refusal`)."""
        self._refused.labels(reason).inc()

    def sender_process_ended(self) -> None:
        """A sender process of the receiver has ended by itself."""
        self._process_ends.inc()

    def peer_connected(self) -> None:
        self._peers.inc()

    def peer_left(self) -> None:
        self._peers.dec()

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
