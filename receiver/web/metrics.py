"""Prometheus metrics of the web part, in the receiver's registry; callers use these verbs and know no metric names."""

from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from receiver.web.pictures import UPLOAD_STAGES

# From a static file to the reconstruction of an uploaded picture on a loaded machine.
REQUEST_BUCKETS_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.5, 1.0, 2.0, 3.5, 5.0, 10.0, 30.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_UNMATCHED = "unmatched"


class UploadOutcome(StrEnum):
    """What became of an uploaded picture."""

    STORED = "stored"  # reconstructed and kept as a model
    REFUSED = "refused"  # too large, no image, nobody in it, or without the right to upload
    LIMITED = "limited"  # too many at a time, or of one account
    UNAVAILABLE = "unavailable"  # the child process that reconstructs pictures does not answer
    FAILED = "failed"  # an error of ours


class SignInOutcome(StrEnum):
    """What became of an attempt to sign in."""

    SUCCEEDED = "succeeded"
    WRONG = "wrong"  # no such account, or another password
    LOCKED = "locked"  # too many wrong attempts before


class WebMetrics:
    """Counters, gauges and histograms of the page, the live view, uploads and accounts.

    Args:
        registry: the receiver's (`ReceiverMetrics.registry`).
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._define_requests(registry)
        self._define_live_view(registry)
        self._define_uploads(registry)
        self._sign_ins = Counter("bodywire_web_sign_ins", "Attempts to sign in", ["outcome"], registry=registry)
        self._accounts = Gauge("bodywire_web_accounts", "Accounts that exist", registry=registry)
        for outcome in SignInOutcome:
            self._sign_ins.labels(outcome)

    def _define_requests(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "bodywire_web_requests", "HTTP requests", ["method", "route", "status"], registry=registry
        )
        self._request_seconds = Histogram(
            "bodywire_web_request_seconds",
            "From a request's headers to the end of its answer",
            ["method", "route"],
            buckets=REQUEST_BUCKETS_S,
            registry=registry,
        )
        # So that the page's own series exist before its first visitor.
        self._requests.labels("GET", "/", "200")
        self._request_seconds.labels("GET", "/")

    def _define_live_view(self, registry: CollectorRegistry) -> None:
        self._watchers = Gauge("bodywire_web_watchers", "Browsers that watch the live view", registry=registry)
        self._shown = Counter("bodywire_web_frames_shown", "Frames sent to browsers", registry=registry)
        self._skipped = Counter(
            "bodywire_web_frames_skipped", "Frames that a browser was too slow for", registry=registry
        )
        self._shown_bytes = Counter("bodywire_web_frame_bytes", "Bytes of frames sent to browsers", registry=registry)
        self._texture_bytes = Counter(
            "bodywire_web_texture_bytes", "Bytes of people's textures sent to browsers", registry=registry
        )

    def _define_uploads(self, registry: CollectorRegistry) -> None:
        self._upload_seconds = Histogram(
            "bodywire_web_upload_seconds",
            "From the end of an upload to its answer",
            ["outcome"],
            buckets=REQUEST_BUCKETS_S,
            registry=registry,
        )
        self._upload_stage_seconds = Histogram(
            "bodywire_web_upload_stage_seconds",
            "Duration of one stage of an upload",
            ["stage"],
            buckets=REQUEST_BUCKETS_S,
            registry=registry,
        )
        for outcome in UploadOutcome:
            self._upload_seconds.labels(outcome)
        for stage in UPLOAD_STAGES:
            self._upload_stage_seconds.labels(stage)

    def request(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """A request was answered.

        Args:
            method: of HTTP; one that HTTP does not define counts as `other`, because clients choose it.
            route: the template, such as `/api/models/{id}`, never the path; None if no route matched.
            status: of the answer.
            seconds: from its headers to the end of the answer.
        """
        method, route = method if method in _METHODS else "other", route or _UNMATCHED
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(method, route).observe(seconds)

    def watcher_connected(self) -> None:
        self._watchers.inc()

    def watcher_left(self) -> None:
        self._watchers.dec()

    def frame_shown(self, size_bytes: int) -> None:
        """A frame of this size was sent to one browser."""
        self._shown.inc()
        self._shown_bytes.inc(size_bytes)

    def texture_part_sent(self, size_bytes: int) -> None:
        """A part of a texture, of this size, was sent to one browser."""
        self._texture_bytes.inc(size_bytes)

    def frame_skipped(self) -> None:
        """A frame was replaced by a newer one before one browser had room for it."""
        self._skipped.inc()

    def upload(self, outcome: UploadOutcome, seconds: float) -> None:
        """An upload was answered."""
        self._upload_seconds.labels(outcome).observe(seconds)

    def upload_stage(self, stage: str, seconds: float) -> None:
        """An upload passed a stage, one of `receiver.web.pictures.UPLOAD_STAGES`."""
        self._upload_stage_seconds.labels(stage).observe(seconds)

    def sign_in(self, outcome: SignInOutcome) -> None:
        self._sign_ins.labels(outcome).inc()

    def accounts(self, count: int) -> None:
        """So many accounts exist now."""
        self._accounts.set(count)
