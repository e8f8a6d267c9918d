"""Options of the delivery."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.io.command_line import option


@dataclass(frozen=True, slots=True)
class DeliveryConfig:
    """Which frames are delivered."""

    delivery: Literal["live", "complete"] | None = option(
        None,
        help="live: newest frames; complete: all, also after restarts (default: cameras live, files wait)",
    )
    spool: Path = option(
        Path("spool"), help="directory for undelivered frames under --delivery complete", advanced=True
    )
    spool_limit_mb: float = option(1000.0, help="megabytes in the spool at which the source waits", advanced=True)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.spool_limit_mb) and self.spool_limit_mb > 0):
            raise ValueError(f"--spool-limit-mb must be above 0, not {self.spool_limit_mb}")

    def is_live(self, *, camera: bool) -> bool:
        """Whether stale frames are dropped, with a camera as the source or with files."""
        return camera if self.delivery is None else self.delivery == "live"
