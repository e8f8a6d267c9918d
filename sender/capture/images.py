"""Frames from image files."""

import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from common.arrays import Image
from common.clock import STEADY_CLOCK, Clock
from common.errors import SourceError
from common.imaging.exif import focal_length_px, orientation_of
from common.imaging.heif import register_heif
from common.imaging.orientation import upright
from common.imaging.rgb import to_rgb
from sender.capture.source import CapturedFrame, FrameSource, camera_of, check_size, printable_name
from sender.metrics import DropReason, SenderMetrics

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif", ".hif", ".avif", ".gif", ".tif", ".tiff", ".bmp"}
    | {".ppm", ".pgm"}
)
# Other decoders of Pillow stay unused: some run external programs.
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM", "GIF", "HEIF", "AVIF")

register_heif()


def is_image_path(path: Path) -> bool:
    """Whether a path has the suffix of an image; its content is not read."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def natural_order(path: Path) -> list[tuple[int, str]]:
    """A sort key under which `frame2` comes before `frame10`."""
    parts = re.split(r"(\d+)", str(path).lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded image file.

    Args:
        image: (H, W, 3) RGB, upright.
        focal_px: focal length in pixels, if its metadata tell.
    """

    image: Image
    focal_px: float | None = None


def read_image(path: Path) -> Picture:
    """A file, rotated upright by its EXIF orientation; transparent pixels become white. Of an animation it is the first
    frame.

    Raises:
        SourceError: the file is missing, unreadable, too large, or no image.
    """
    return _decoded(path, str(path))


def decode_image(data: bytes) -> Picture:
    """The content of an image file, as `read_image` returns it.

    Raises:
        SourceError: it is damaged, too large, or no image.
    """
    return _decoded(io.BytesIO(data), "the picture")


def _decoded(file: Path | io.BytesIO, name: str) -> Picture:
    try:
        # Warnings are about metadata, or about sizes that `check_size` refuses.
        with warnings.catch_warnings(action="ignore"), PillowImage.open(file, formats=_FORMATS) as image:
            check_size(*image.size)
            image.load()
            return Picture(upright(np.array(to_rgb(image)), orientation_of(image)), focal_length_px(image))
    except SourceError as error:
        raise SourceError(f"{name}: {error}") from error
    except UnidentifiedImageError as error:
        raise SourceError(
            f"{name} is not an image that can be read (JPEG, PNG, WebP, HEIC, AVIF, GIF, TIFF or BMP)"
        ) from error
    except (PillowImage.DecompressionBombError, MemoryError) as error:
        raise SourceError(f"{name} is too large: {str(error) or 'too little memory'}") from error
    except OSError as error:
        raise SourceError(f"cannot read {name}: {error.strerror or error}") from error
    # Pillow's decoders raise almost any exception for damaged files with a valid header.
    except Exception as error:
        raise SourceError(f"{name} is damaged: {error}") from error


class ImageSource(FrameSource):
    """One frame for each image, in the given order.

    An image among several that cannot be used is logged, counted and skipped; `close` logs how many were.

    Raises:
        SourceError: (while iterating) no image can be read.
    """

    stills = True

    def __init__(
        self,
        paths: Sequence[Path],
        focal_px: float | None = None,
        metrics: SenderMetrics | None = None,
        clock: Clock = STEADY_CLOCK,
    ) -> None:
        self._paths = paths
        self._focal_px = focal_px
        self._metrics = SenderMetrics() if metrics is None else metrics
        self._clock = clock
        self._skipped = 0

    @property
    def length(self) -> int:
        return len(self._paths) - self._skipped

    def __iter__(self) -> Iterator[CapturedFrame]:
        sequence = 0
        for path in self._paths:
            try:
                picture = read_image(path)
            except SourceError as error:
                if len(self._paths) == 1:
                    raise
                logger.warning("image skipped: %s", error)
                self._metrics.frame_dropped(DropReason.UNREADABLE)
                self._skipped += 1
                continue
            name, camera = printable_name(path.name), camera_of(picture.image, self._focal_px or picture.focal_px)
            yield CapturedFrame(sequence, name, self._clock.wall(), 0.0, picture.image, camera)
            sequence += 1
        if sequence == 0:
            raise SourceError(f"none of the {len(self._paths)} images in {self._paths[0].parent} can be read")

    def close(self) -> None:
        if self._skipped:
            logger.warning("skipped %d of %d images", self._skipped, len(self._paths))
            self._skipped = 0
