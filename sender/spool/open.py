"""What `--delivery` promises, and the spool that it takes."""

import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.codec.packet import CODEC_VERSION
from common.io.configuration import option
from sender.capture.cameras import without_credentials
from sender.capture.source import FrameSource
from sender.spool.spool import Spool, SpoolContent

_MEGABYTE = 1e6


@dataclass(frozen=True, slots=True)
class DeliveryConfig:
    """Which frames arrive."""

    delivery: Literal["live", "complete"] | None = option(
        None,
        help="live: the newest frame wins; complete: every frame arrives, later if need be, also after a restart of "
        "either side; if not given, a camera is live, and a file waits for the receiver",
    )
    spool: Path = option(Path("spool"), help="directory where --delivery complete keeps what is not delivered yet")
    spool_limit_mb: float = option(1000.0, help="megabytes that may wait there; then the source has to")

    def __post_init__(self) -> None:
        if not (math.isfinite(self.spool_limit_mb) and self.spool_limit_mb > 0):
            raise ValueError(f"--spool-limit-mb must be above 0, not {self.spool_limit_mb}")

    def is_live(self, source: FrameSource) -> bool:
        """Whether stale frames are dropped."""
        return source.live if self.delivery is None else self.delivery == "live"


@contextmanager
def open_spool(config: DeliveryConfig, camera: str, model_hash: bytes) -> Iterator[Spool | None]:
    """The spool of a source's frames, if delivery is to be complete.

    Args:
        camera: the source, as the command line names it.

    Raises:
        UsageError: the spool is another sender's, or holds undelivered frames of something else.
        OutputError: it cannot be written or read.
    """
    if config.delivery != "complete":
        yield None
        return
    path = Path(camera)
    source = str(path.resolve()) if path.exists() else without_credentials(camera)
    content = SpoolContent(source, CODEC_VERSION, model_hash)
    with closing(Spool(config.spool, content, config.spool_limit_mb * _MEGABYTE)) as spool:
        yield spool
