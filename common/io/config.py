"""Options that both daemons have. They import nothing that takes time."""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from common.errors import UsageError
from common.io.addresses import Address
from common.io.options import option
from common.io.tracing import FrameTracer


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """Address of the metrics server."""

    metrics: Address | None = option(None, help="serve Prometheus metrics at host:port")


@dataclass(frozen=True, slots=True)
class ProfileConfig:
    """Where the time goes."""

    profile: bool = option(False, help="print at the end how long each stage took, and its processor time")


@dataclass(frozen=True, slots=True)
class TracingConfig:
    """Traces of frames across sender and receiver."""

    traces: str | None = option(
        None,
        help="send OpenTelemetry traces to this collector (OTLP over HTTP), such as http://127.0.0.1:4318",
    )
    trace_share: float = option(0.05, help="share of frames traced, 0 to 1; the same at both ends")

    def __post_init__(self) -> None:
        if not 0 <= self.trace_share <= 1:
            raise ValueError(f"--trace-share must lie in 0…1, got {self.trace_share:g}")
        if self.traces is not None and not _is_http(self.traces):
            raise ValueError(f"--traces {self.traces}: give the collector's URL, such as http://127.0.0.1:4318")

    def start(self, program: str, version: str) -> FrameTracer:
        """The tracer of a daemon, which does nothing without `--traces`.

        Raises:
            UsageError: OpenTelemetry is not installed.
        """
        if self.traces is None:
            return FrameTracer(program)
        try:
            from common.io.otlp import OtlpSink  # needs an extra
        except ImportError as error:
            raise UsageError(
                '--traces needs OpenTelemetry, which is not installed: pip install "bodywire[tracing]"'
            ) from error
        return FrameTracer(program, OtlpSink(self.traces, program, version), self.trace_share)


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What a daemon writes to stderr."""

    log_level: Literal["debug", "info", "warning", "error"] = option("info", help="lowest level shown")
    log_format: Literal["auto", "text", "json"] = option(
        "auto", help="json: one object a line; auto: text on a terminal, otherwise json"
    )
    status: bool = option(True, help="show a status line on a terminal")
