"""Prometheus metrics of the web part, in the receiver's registry; callers use these verbs and know no metric names."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

PICTURE_STAGES = ("queue", "perception", "reconstruction")
"""What an uploaded picture passes through, in this order, before its files are written."""
FILES = "files"
UPLOAD_STAGES = (*PICTURE_STAGES, FILES)

# From a static file to the reconstruction of an uploaded picture on a loaded machine.
CLIP_BUCKETS_S = (1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
REQUEST_BUCKETS_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.5, 1.0, 2.0, 3.5, 5.0, 10.0, 30.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_UNMATCHED = "unmatched"


class UploadOutcome(StrEnum):
    """What became of an uploaded picture or clip."""

    STORED = "stored"  # reconstructed and kept as a model or session
    REFUSED = "refused"  # too large, no picture or clip, nobody in it, or without the right to upload
    LIMITED = "limited"  # too many at a time, or of one account
    UNAVAILABLE = "unavailable"  # the child process that reconstructs it does not answer
    CANCELLED = "cancelled"  # by whoever has uploaded it, or the receiver has stopped
    FAILED = "failed"  # an error of ours


class SignInOutcome(StrEnum):
    """What became of an attempt to sign in."""

    SUCCEEDED = "succeeded"
    WRONG = "wrong"  # no such account, or another password
    LOCKED = "locked"  # too many wrong attempts before


class WebMetrics:
    """Counters, gauges and histograms of the page, the live view, uploads and accounts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, description: str, *labels: str) -> Counter:
            return Counter(f"bodywire_web_{name}", description, labels, registry=registry)

        def gauge(name: str, description: str) -> Gauge:
            return Gauge(f"bodywire_web_{name}", description, registry=registry)

        def durations(
            name: str, description: str, *labels: str, buckets: Sequence[float] = REQUEST_BUCKETS_S
        ) -> Histogram:
            return Histogram(f"bodywire_web_{name}", description, labels, buckets=buckets, registry=registry)

        self._requests = counter("requests", "HTTP requests", "method", "route", "status")
        since_headers = "From a request's headers to the end of its answer"
        self._request_seconds = durations("request_seconds", since_headers, "method", "route")
        self._watchers = gauge("watchers", "Browsers that watch the live view")
        self._shown = counter("frames_shown", "Frames sent to browsers")
        self._skipped = counter("frames_skipped", "Frames that a browser was too slow for")
        self._shown_bytes = counter("frame_bytes", "Bytes of frames sent to browsers")
        self._texture_bytes = counter("texture_bytes", "Bytes of people's textures sent to browsers")
        self._upload_seconds = durations("upload_seconds", "From the end of an upload to its answer", "outcome")
        self._upload_stage_seconds = durations("upload_stage_seconds", "Duration of one stage of an upload", "stage")
        until_recorded = "From the end of a clip's upload to the end of its session"
        self._clip_seconds = durations("clip_seconds", until_recorded, "outcome", buckets=CLIP_BUCKETS_S)
        self._sign_ins = counter("sign_ins", "Attempts to sign in", "outcome")
        self._accounts = gauge("accounts", "Accounts that exist")
        # So that every series exists before its first event.
        self._requests.labels("GET", "/", "200")
        self._request_seconds.labels("GET", "/")
        for upload in UploadOutcome:
            self._upload_seconds.labels(upload)
            self._clip_seconds.labels(upload)
        for stage in UPLOAD_STAGES:
            self._upload_stage_seconds.labels(stage)
        for sign_in in SignInOutcome:
            self._sign_ins.labels(sign_in)

    def request(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """A request was answered.

        Args:
            method: of HTTP; one that HTTP does not define counts as `other`, because clients choose it.
            route: the template, such as `/api/models/{id}`, never the path; None if no route matched.
            seconds: from its headers to the end of the answer.
        """
        method, route = method if method in _METHODS else "other", route or _UNMATCHED
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(method, route).observe(seconds)

    def watching(self) -> AbstractContextManager[object]:
        """A browser watches until the block ends."""
        return self._watchers.track_inprogress()

    def frame_shown(self, size_bytes: int) -> None:
        """A frame of this size was sent to one browser."""
        self._shown.inc()
        self._shown_bytes.inc(size_bytes)

    def texture_sent(self, size_bytes: int) -> None:
        """A texture of this size was sent to one browser."""
        self._texture_bytes.inc(size_bytes)

    def frame_skipped(self) -> None:
        """A frame was replaced by a newer one before one browser had room for it."""
        self._skipped.inc()

    def upload(self, outcome: UploadOutcome, seconds: float) -> None:
        """An upload of a picture was answered."""
        self._upload_seconds.labels(outcome).observe(seconds)

    def clip(self, outcome: UploadOutcome, seconds: float) -> None:
        """An upload of a clip was answered."""
        self._clip_seconds.labels(outcome).observe(seconds)

    def upload_stage(self, stage: str, seconds: float) -> None:
        """An upload passed a stage, one of `UPLOAD_STAGES`."""
        self._upload_stage_seconds.labels(stage).observe(seconds)

    def sign_in(self, outcome: SignInOutcome) -> None:
        self._sign_ins.labels(outcome).inc()

    def accounts(self, count: int) -> None:
        """So many accounts exist now."""
        self._accounts.set(count)
