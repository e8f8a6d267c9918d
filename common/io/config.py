"""Options that both daemons have. They import nothing that takes time."""

from dataclasses import dataclass
from typing import Literal

from common.io.addresses import Address
from common.io.command_line import option


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """Address of the metrics server."""

    metrics: Address | None = option(None, help="serve Prometheus metrics at host:port", advanced=True)


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What a daemon writes to stderr."""

    log_level: Literal["debug", "info", "warning", "error"] = option("info", help="lowest level shown")
