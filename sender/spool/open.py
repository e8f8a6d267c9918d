"""Delivery modes, and the spool of complete delivery."""

import math
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.codec.packet import CODEC_VERSION
from common.io.options import option
from sender.capture.cameras import without_credentials
from sender.capture.source import FrameSource
from sender.spool.spool import Spool, SpoolContent

_MEGABYTE = 1e6


@dataclass(frozen=True, slots=True)
class DeliveryConfig:
    """Which frames are delivered."""

    delivery: Literal["live", "complete"] | None = option(
        None,
        help="live: stale frames are dropped; complete: every frame arrives, possibly later, also after restarts of "
        "either side (default: live for a camera; a file waits for the receiver)",
    )
    spool: Path = option(Path("spool"), help="directory for undelivered frames under --delivery complete")
    spool_limit_mb: float = option(1000.0, help="size of the spool in megabytes from which on the source waits")

    def __post_init__(self) -> None:
        if not (math.isfinite(self.spool_limit_mb) and self.spool_limit_mb > 0):
            raise ValueError(f"--spool-limit-mb must be above 0, not {self.spool_limit_mb}")

    def is_live(self, source: FrameSource) -> bool:
        """Whether stale frames are dropped."""
        return source.live if self.delivery is None else self.delivery == "live"


@contextmanager
def open_spool(config: DeliveryConfig, camera: str, model_hash: bytes) -> Iterator[Spool | None]:
    """Opens the spool of a source; None unless delivery is complete.

    Args:
        camera: the source, as given on the command line.

    Raises:
        UsageError: another sender uses the spool, or it contains frames of another source.
        OutputError: the spool cannot be written or read.
    """
    if config.delivery != "complete":
        yield None
        return
    with closing(Spool(config.spool, spool_content(camera, model_hash), config.spool_limit_mb * _MEGABYTE)) as spool:
        yield spool


def spool_content(camera: str, model_hash: bytes) -> SpoolContent:
    """What the spool of a source, as given on the command line, contains."""
    source = str(Path(camera).resolve()) if os.path.exists(camera) else without_credentials(camera)
    return SpoolContent(source, CODEC_VERSION, model_hash)
