"""Frames from image files."""

import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from common.arrays import Image
from common.clock import STEADY_CLOCK, Clock
from common.errors import SourceError
from common.imaging.pictures import (
    PAGED,
    focal_length_px,
    is_heif,
    open_image,
    orientation_of,
    pages,
    picture_count,
    register_heif,
    to_rgb,
    upright,
)
from common.io.files import open_regular
from common.text import printable
from sender.capture.source import CapturedFrame, FrameSource, camera_of, check_size, printable_name
from sender.metrics import DropReason, SenderMetrics

T = TypeVar("T")

_MOST_SAID = 200
_AS_STORED = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_END_OF_JPEG = b"\xff\xd9"

logger = logging.getLogger(__name__)

# Names of pictures; of what is in a file they say something only where its first bytes do not.
_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".heic", ".heics", ".heif", ".heifs", ".hif", ".avif"}
    | {".avifs", ".gif", ".tif", ".tiff", ".bmp", ".ppm", ".pgm"}
)
_HEAD_BYTES = 256
# JPEG, PNG, GIF, WebP, TIFF, PPM, and BMP with a known size of its second header.
_HEADS = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8[79]a|RIFF....WEBP|II[*+]\0|MM\0[*+]|P[1-6]\s|BM.{12}[\x0c\x10(48@l|]\0\0\0",
    re.DOTALL,
)
# They begin as a TIFF, whose picture is a small copy, or as a JPEG: raw photographs, and videos without a container.
_NO_PICTURES = frozenset(
    {".dng", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".cr2", ".pef", ".srw", ".rw2", ".3fr", ".iiq", ".erf", ".kdc"}
    | {".mjpeg", ".mjpg"}
)
# Other decoders of Pillow stay unused: some run external programs.
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM", "GIF", "HEIF", "AVIF")

register_heif()


def is_image(path: Path) -> bool:
    """Whether a file begins as an image does, whatever its name."""
    head = b"" if path.suffix.lower() in _NO_PICTURES else head_of(path)
    return _HEADS.match(head) is not None or is_heif(head)


def is_named_image(path: Path) -> bool:
    """Whether a path has the suffix of an image; its content is not read."""
    return path.suffix.lower() in _SUFFIXES


def head_of(path: Path) -> bytes:
    """The first bytes of a regular file; none if it cannot be read."""
    try:
        with open_regular(path, follow_links=True) as file:
            return file.read(_HEAD_BYTES)
    except OSError:
        return b""


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
    """A file, rotated upright by its EXIF orientation; transparent pixels become white.

    Of several pictures it is the first, and a warning says how many there are.

    Raises:
        SourceError: the file is missing, unreadable, too large, or no image.
    """
    return _first(path, str(path))


def decode_image(data: bytes) -> Picture:
    """The content of an image file, as `read_image` returns it.

    Raises:
        SourceError: it is damaged, too large, or no image.
    """
    return _first(io.BytesIO(data), "the picture")


def read_pages(path: Path) -> Iterator[Picture]:
    """All pictures of a file with pages; of another one, as `read_image`, which also says what is raised."""

    def turned() -> Iterator[Picture]:
        with opened(path) as image:
            for _ in pages(image):
                yield picture_of(image)

    with reading(str(path)), opened(path) as image:
        several = image.format in PAGED and picture_count(image) > 1
    yield from guarded(str(path), turned()) if several else (read_image(path),)


def _first(file: Path | io.BytesIO, name: str) -> Picture:
    with reading(name), opened(file) as image:
        if (count := picture_count(image)) > 1:
            text = "%s has %d pictures, of which the first is used: give the file alone to sender or bodywire.stream"
            logger.warning(text, name, count)
        return picture_of(image, file.getvalue() if isinstance(file, io.BytesIO) else b"")


def opened(file: Path | io.BytesIO) -> PillowImage.Image:
    """An open file of a known format, as of `open_image`; raises whatever Pillow raises (`reading`)."""
    return open_image(file, _FORMATS)


def picture_of(image: PillowImage.Image, data: bytes = b"") -> Picture:
    """The picture of an open file that it stands at; raises SourceError if that is too large.

    Args:
        data: the file's content, if it is at hand, by which a camera's JPEG pictures are decoded in half of the time.
    """
    check_size(*image.size)
    plain = image.format == "JPEG" and image.mode == "RGB" and "icc_profile" not in image.info
    # Of a file without its end, OpenCV would make the rest up.
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), _AS_STORED) if plain and data.endswith(_END_OF_JPEG) else None
    if pixels is None:
        image.load()
        pixels = np.array(to_rgb(image))
    return Picture(upright(np.asarray(pixels, np.uint8), orientation_of(image)), focal_length_px(image))


def guarded(name: str, items: Iterator[T]) -> Iterator[T]:
    """The items, with errors as of `reading`."""
    while True:
        with reading(name):
            try:
                item = next(items)
            except StopIteration:
                return
        yield item


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Raises SourceError, which calls the file `name`, for whatever Pillow and its decoders raise."""
    try:
        # Warnings are about metadata, or about sizes that `check_size` refuses.
        with warnings.catch_warnings(action="ignore"):
            yield
    except SourceError as error:
        raise SourceError(f"{name}: {error}") from error
    except UnidentifiedImageError as error:
        raise SourceError(
            f"{name} is not an image that can be read (JPEG, PNG, WebP, HEIC, AVIF, GIF, TIFF or BMP)"
        ) from error
    except (PillowImage.DecompressionBombError, MemoryError) as error:
        raise SourceError(f"{name} is too large: {_said(error) or 'too little memory'}") from error
    except OSError as error:
        raise SourceError(f"cannot read {name}: {error.strerror or _said(error)}") from error
    # Pillow's decoders raise almost any exception for damaged files with a valid header.
    except Exception as error:
        raise SourceError(f"{name} is damaged: {_said(error)}") from error


def _said(error: Exception) -> str:
    """What a decoder says, in one line."""
    return printable(" ".join(str(error).split()), _MOST_SAID)


class ImageSource(FrameSource):
    """One frame for each image, in the given order; for each page of one with pages.

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
        self._skipped = self._further_pages = 0
        self._last_name = ""

    @property
    def length(self) -> int:
        return len(self._paths) - self._skipped + self._further_pages

    def __iter__(self) -> Iterator[CapturedFrame]:
        sequence = 0
        for path in self._paths:
            page = 0
            try:
                for page, picture in enumerate(read_pages(path), 1):
                    self._further_pages += page > 1
                    yield self._frame(sequence, path, page, picture)
                    sequence += 1
            except SourceError as error:
                if len(self._paths) == 1 and not page:
                    raise
                logger.warning("image skipped%s: %s", f" behind page {page}" if page else "", error)
                self._metrics.frame_dropped(DropReason.UNREADABLE)
                self._skipped += not page
        if sequence == 0:
            raise SourceError(f"none of the {len(self._paths)} images in {self._paths[0].parent} can be read")

    def _frame(self, sequence: int, path: Path, page: int, picture: Picture) -> CapturedFrame:
        # People of a page are others than those of the page before, as those of another source.
        name = printable_name(path.name if page == 1 else f"{path.name} ({page})")
        # Files of two folders may have one name.
        self._last_name = name = f"{name} ({sequence + 1})" if name == self._last_name else name
        camera = camera_of(picture.image, self._focal_px or picture.focal_px)
        return CapturedFrame(sequence, name, self._clock.wall(), 0.0, picture.image, camera)

    def close(self) -> None:
        if self._skipped:
            logger.warning("skipped %d of %d images", self._skipped, len(self._paths))
            self._skipped = 0
