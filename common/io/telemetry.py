"""Metrics common to both daemons: stage timings and the HTTP server that Prometheus scrapes."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry, Gauge, Histogram, ProcessCollector, start_http_server

from common.errors import OutputError
from common.io.addresses import Address
from common.io.options import option

# From a codec pass (tens of microseconds) to the first inference on a loaded machine (seconds).
STAGE_BUCKETS_S = (1e-4, 3e-4, 1e-3, 3e-3, 5e-3, 0.01, 0.02, 0.03, 0.05, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 3.0, 10.0)
# Probabilities and confidences; finer at the upper end, where most of them are.
SCORE_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


@dataclass(slots=True)
class StageSpan:
    """Duration of one pass through a stage; NaN until the stage has ended."""

    seconds: float = math.nan

    @property
    def ms(self) -> float:
        return self.seconds * 1e3


class StageTimes:
    """A histogram of durations in seconds with the label `stage`: `with times.stage("decode") as span: …`.

    Args:
        stages: exported from the beginning, so that a query of a stage that has not run yet gives zero and not nothing.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        name: str,
        stages: Iterable[str] = (),
        *,
        monotonic: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._monotonic = monotonic
        self._histogram = Histogram(
            name, "Duration of one pass through a stage, seconds", ["stage"], buckets=STAGE_BUCKETS_S, registry=registry
        )
        for stage in stages:
            self._histogram.labels(stage)

    @contextmanager
    def stage(self, name: str) -> Iterator[StageSpan]:
        """Measures the block, also if it raises."""
        span, started_s = StageSpan(), self._monotonic()
        try:
            yield span
        finally:
            span.seconds = self._monotonic() - started_s
            self.observe(name, span.seconds)

    def observe(self, name: str, seconds: float) -> None:
        """Records a pass that was timed elsewhere."""
        self._histogram.labels(name).observe(seconds)


def daemon_registry() -> CollectorRegistry:
    """A new registry with CPU and memory metrics; daemons in one process do not share it."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


def publish_build(registry: CollectorRegistry, program: str, build: Mapping[str, str]) -> None:
    """Exports `bodywire_build_info`, which is 1 and has the build in its labels.

    Args:
        program: `sender` or `receiver`.
        build: `common.version.build_versions`.
    """
    info = Gauge("bodywire_build_info", "Versions of the running program", ["program", *build], registry=registry)
    info.labels(program, *build.values()).set(1)


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """Address of the metrics server."""

    metrics: Address | None = option(None, help="serve Prometheus metrics at this address, host:port")


class MetricsServer:
    """Serves a registry over HTTP in a background thread; a context manager that frees the port on exit.

    Raises:
        OutputError: the server cannot listen on the address.
    """

    def __init__(self, address: Address, registry: CollectorRegistry) -> None:
        try:
            self._server, self._thread = start_http_server(address.port, address.host, registry)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OutputError(
                f"cannot serve metrics on {address} ({reason}): give --metrics a free host:port"
            ) from error
        self.address = Address(address.host, int(self._server.server_port))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
