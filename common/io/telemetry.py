"""Metrics common to both daemons: stage timings and the HTTP server that Prometheus scrapes."""

import math
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from socketserver import ThreadingMixIn
from typing import Self, TypeVar
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, make_wsgi_app

from common.connections import BoundedListener
from common.errors import OutputError
from common.io.addresses import Address
from common.labels import GROUP_NAMES
from common.wire.traffic import PURPOSES

_Metric = TypeVar("_Metric", Counter, Gauge)

# From a codec pass (tens of microseconds) to the first inference on a loaded machine (seconds).
STAGE_BUCKETS_S = (1e-4, 3e-4, 1e-3, 3e-3, 5e-3, 0.01, 0.02, 0.03, 0.05, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 3.0, 10.0)
# Probabilities and confidences; finer at the upper end, where most of them are.
SCORE_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


MOST_REQUESTS = 16
"""More than one Prometheus asks at a time, with a person who looks beside it; each holds a thread."""
_REQUEST_TIMEOUT_S = 10.0


@dataclass(slots=True)
class StageSpan:
    """One pass through a stage: its duration; NaN until the stage has ended."""

    seconds: float = math.nan

    @property
    def ms(self) -> float:
        return self.seconds * 1e3


@contextmanager
def timed() -> Iterator[StageSpan]:
    """Measures the block, also if it raises."""
    span, started_s = StageSpan(), time.perf_counter()
    try:
        yield span
    finally:
        span.seconds = time.perf_counter() - started_s


class _Total(Counter):
    """A counter that ends no daemon: prometheus_client raises ValueError for amounts below 0, which are left out.

    Shares of bytes are estimates: of a short packet, those of its groups may sum to more than it has.
    """

    def inc(self, amount: float = 1, exemplar: dict[str, str] | None = None) -> None:
        super().inc(max(amount, 0), exemplar)


class DaemonMetrics:
    """What the metrics of both daemons have in common: stages, frames, bytes and the simulated channel.

    Every label value is exported from the beginning: a rate is zero, and not missing, until the first event.

    Args:
        program: `sender` or `receiver`, which the names begin with.
        frame_fates: what becomes of frames.
        channel_fates: what becomes of the pictures of `--channel`.
        registry: a new one with CPU and memory metrics if not given; daemons in one process do not share it.
    """

    def __init__(
        self,
        program: str,
        stages: Iterable[str],
        frame_fates: Iterable[str],
        channel_fates: Iterable[str],
        registry: CollectorRegistry | None = None,
    ) -> None:
        if registry is None:
            ProcessCollector(registry=(registry := CollectorRegistry()))
        self.registry = registry
        self._prefix = f"bodywire_{program}_"
        self._stages = Histogram(
            f"{self._prefix}stage_seconds",
            "Duration of one pass through a stage, seconds",
            ["stage"],
            buckets=STAGE_BUCKETS_S,
            registry=registry,
        )
        for stage in stages:
            self._stages.labels(stage)
        self._frames = self._counter("frames", "Frames by fate", "fate", frame_fates)
        self._bytes = self._counter("label_bytes", "Payload bytes by label group", "group", ("header", *GROUP_NAMES))
        self._link_bytes = self._counter(
            "link_bytes", "Bytes on the link, both ways, by what they are for", "purpose", PURPOSES
        )
        self._scores = self._histogram(
            "person_score", "Probability that a person is one, one value per person and frame", SCORE_BUCKETS
        )
        self._channel_pictures = self._counter("channel_pictures", "Pictures of --channel", "fate", channel_fates)
        self._channel_uses = self._counter("channel_uses", "Uses of the simulated channel by pictures")

    @contextmanager
    def stage(self, name: str) -> Iterator[StageSpan]:
        """Times one pass, also if it raises: `with metrics.stage("codec") as span:`; `span.ms` is then the duration."""
        span = StageSpan()
        try:
            with timed() as span:
                yield span
        finally:
            self._stages.labels(name).observe(span.seconds)

    def link_bytes(self, purpose: str, size: int) -> None:
        """Counts bytes on the link (`common.wire.traffic.Traffic`)."""
        self._link_bytes.labels(purpose).inc(size)

    def frame_dropped(self, fate: str) -> None:
        """Counts a frame by the reason why it goes no further."""
        self._frames.labels(fate).inc()

    def _count_frame(self, fate: str, bytes_by_group: Mapping[str, int]) -> None:
        """Counts a packet; `bytes_by_group` may have entries beside the label groups, such as `header`."""
        self._frames.labels(fate).inc()
        for group, size in bytes_by_group.items():
            self._bytes.labels(group).inc(size)

    def channel_picture(self, fate: str, uses: int = 0) -> None:
        """Counts a picture of `--channel` by what becomes of it, and the channel uses of one that gets through."""
        self._channel_pictures.labels(fate).inc()
        self._channel_uses.inc(uses)

    def _counter(self, name: str, description: str, label: str | None = None, values: Iterable[str] = ()) -> Counter:
        labels = () if label is None else (label,)
        return _exported(_Total(self._prefix + name, description, labels, registry=self.registry), values)

    def _gauge(self, name: str, description: str, label: str | None = None, values: Iterable[str] = ()) -> Gauge:
        labels = () if label is None else (label,)
        return _exported(Gauge(self._prefix + name, description, labels, registry=self.registry), values)

    def _histogram(self, name: str, description: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(self._prefix + name, description, buckets=buckets, registry=self.registry)


def _exported(metric: _Metric, label_values: Iterable[str]) -> _Metric:
    for value in label_values:
        metric.labels(value)
    return metric


def publish_build(registry: CollectorRegistry, program: str, build: Mapping[str, str]) -> None:
    """Exports `bodywire_build_info`, which is 1 and has the build in its labels.

    Args:
        program: `sender` or `receiver`.
        build: `common.version.build_versions`.
    """
    info = Gauge("bodywire_build_info", "Versions of the running program", ["program", *build], registry=registry)
    info.labels(program, *build.values()).set(1)


class _Handler(WSGIRequestHandler):
    """Answers one request."""

    timeout = _REQUEST_TIMEOUT_S

    def log_message(self, *_: object) -> None: ...


class _WsgiServer(ThreadingMixIn, WSGIServer):
    """A thread for each of a few connections, for a short time."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: Address) -> None:
        self.address_family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        super().__init__((address.host, address.port), _Handler)
        self.socket: BoundedListener = BoundedListener(self.socket, "metrics", MOST_REQUESTS)

    def service_actions(self) -> None:
        """Called twice a second: whoever asks or reads slowly, byte by byte, has its time, too."""
        self.socket.end_older_than(_REQUEST_TIMEOUT_S)

    def handle_error(self, *_: object) -> None:
        """A client that goes away or says nothing is no error."""


class MetricsServer:
    """Serves a registry over HTTP in a background thread; a context manager that frees the port on exit.

    Raises:
        OutputError: the server cannot listen on the address.
    """

    def __init__(self, address: Address, registry: CollectorRegistry) -> None:
        try:
            self._server = _WsgiServer(address)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OutputError(
                f"cannot serve metrics on {address} ({reason}): give --metrics a free host:port"
            ) from error
        self._server.set_app(make_wsgi_app(registry))
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()
        self.address = Address(address.host, int(self._server.server_port))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
