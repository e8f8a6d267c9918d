"""Delivery modes, and the spool of complete delivery."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from common.codec.packet import CODEC_VERSION
from sender.capture.cameras import without_credentials
from sender.spool.config import DeliveryConfig
from sender.spool.spool import Spool, SpoolContent

_MEGABYTE = 1e6


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
