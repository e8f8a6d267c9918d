"""Frames from image files."""

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps, UnidentifiedImageError

from common.arrays import Image
from common.clock import SYSTEM_CLOCK, Clock
from common.errors import SourceError
from sender.capture.source import CapturedFrame, ClosingSource, camera_of
from sender.metrics import FrameFate, SenderMetrics

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


def is_image_path(path: Path) -> bool:
    """Whether a path has the suffix of an image; its content is not read."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def natural_order(path: Path) -> list[tuple[int, str]]:
    """A sort key under which `frame2` comes before `frame10`."""
    parts = re.split(r"(\d+)", str(path).lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def read_image(path: Path) -> Image:
    """A file as an (H, W, 3) RGB array, rotated upright by its EXIF orientation.

    Raises:
        SourceError: the file is missing, unreadable, or no image.
    """
    try:
        with PillowImage.open(path) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"), dtype=np.uint8)
    except UnidentifiedImageError as error:
        raise SourceError(f"{path} is not an image that can be read (JPEG, PNG, WebP, TIFF or BMP)") from error
    except PillowImage.DecompressionBombError as error:
        raise SourceError(f"{path} is too large: {error}") from error
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror or error}") from error
    # Pillow's decoders raise these for damaged files with a valid header.
    except (SyntaxError, ValueError, EOFError, IndexError) as error:
        raise SourceError(f"{path} is damaged: {error}") from error


class ImageSource(ClosingSource):
    """One frame for each image, in the given order.

    An unreadable image among several is logged, counted and skipped.

    Raises:
        SourceError: (while iterating) no image can be read.
    """

    live = False
    fps = None

    def __init__(
        self,
        paths: Sequence[Path],
        focal_px: float | None = None,
        metrics: SenderMetrics | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._paths = paths
        self._focal_px = focal_px
        self._metrics = SenderMetrics() if metrics is None else metrics
        self._clock = clock

    def __iter__(self) -> Iterator[CapturedFrame]:
        sequence = 0
        for path in self._paths:
            try:
                image = read_image(path)
            except SourceError as error:
                if len(self._paths) == 1:
                    raise
                logger.warning("image skipped: %s", error)
                self._metrics.frame_dropped(FrameFate.UNREADABLE)
                continue
            yield CapturedFrame(sequence, path.name, self._clock.wall(), 0.0, image, camera_of(image, self._focal_px))
            sequence += 1
        if sequence == 0:
            raise SourceError(f"none of the {len(self._paths)} images in {self._paths[0].parent} can be read")
