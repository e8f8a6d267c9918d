"""Uploaded pictures: checked, turned upright, and coded again without anything but pixels and focal length."""

import io
import logging
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image as PillowImage

from common.imaging.exif import exif_of_lens, film_equivalent_mm, orientation_of
from common.text import printable
from receiver.web.models import decoder_process
from receiver.web.models.container import Container, read_container
from receiver.web.models.decoder_process import reduced
from receiver.web.uploads.refusals import UploadRefused

logger = logging.getLogger(__name__)

# Perception reads crops of some hundred pixels, so that a longer side adds time only.
_MAX_SIDE, _SHOWN_SIDE = 2560, 1024
_MIN_SIDE, _MAX_RATIO = 32, 20
_QUALITY, _SHOWN_QUALITY = 95, 85
# Decoding takes up to 11 bytes a pixel; pictures above this size do so one after the other.
_LARGE_PIXELS = 12_000_000
_DECODER_S = 20.0
_ORIENTATIONS = {
    2: PillowImage.Transpose.FLIP_LEFT_RIGHT,
    3: PillowImage.Transpose.ROTATE_180,
    4: PillowImage.Transpose.FLIP_TOP_BOTTOM,
    5: PillowImage.Transpose.TRANSPOSE,
    6: PillowImage.Transpose.ROTATE_270,
    7: PillowImage.Transpose.TRANSVERSE,
    8: PillowImage.Transpose.ROTATE_90,
}
_SIDES_SWAPPED = (5, 6, 7, 8)

_large = threading.Lock()


@dataclass(frozen=True, slots=True)
class CheckedPicture:
    """A picture that has passed all checks.

    Args:
        content: JPEG, upright, without metadata but the focal length; at most 2560 pixels on its longer side.
        shown: the same without any metadata, at most 1024 pixels.
        width, height: of the upright picture as it was uploaded, pixels.
        spent_ms: time of the check.
    """

    content: bytes
    shown: bytes
    width: int
    height: int
    spent_ms: float = 0.0


def check_picture(content: bytes, max_pixels: int) -> CheckedPicture:
    """Checks a picture and codes it again, which drops metadata and whatever else the file holds.

    Transparent pixels become white, CMYK and grey levels RGB, 16 bits 8. Colour profiles are not applied.

    Raises:
        UploadRefused: it is no picture (415), too large (413), or cannot be used (422).
    """
    container = read_container(content)
    _check_size(container, max_pixels)
    if container.width * container.height <= _LARGE_PIXELS:
        return _recoded(content, container)
    with _large:
        return _recoded(content, container)


def _check_size(container: Container, max_pixels: int) -> None:
    width, height = container.width, container.height
    if width * height > max_pixels:
        raise UploadRefused(
            413,
            f"the picture has {width} × {height} pixels, at most {max_pixels / 1e6:g} million are accepted: shrink it",
        )
    if min(width, height) < _MIN_SIDE:
        raise UploadRefused(422, f"the picture has {width} × {height} pixels: nobody can be found below {_MIN_SIDE}")
    if max(width, height) > _MAX_RATIO * min(width, height):
        raise UploadRefused(422, f"the picture has {width} × {height} pixels: cut out the people")


def _recoded(content: bytes, container: Container) -> CheckedPicture:
    decoded = _decoded_apart if container.format in ("HEIF", "AVIF") else _decoded
    image, orientation, (width, height), equivalent_mm = decoded(content[: container.end], container)
    if orientation in _ORIENTATIONS:
        image = image.transpose(_ORIENTATIONS[orientation])
        if orientation in _SIDES_SWAPPED:
            width, height = height, width
    picture = _encoded(image, _QUALITY, equivalent_mm)
    image.thumbnail((_SHOWN_SIDE, _SHOWN_SIDE), PillowImage.Resampling.BILINEAR, reducing_gap=2.0)
    return CheckedPicture(picture, _encoded(image, _SHOWN_QUALITY), width, height)


class Decoded(NamedTuple):
    """A picture as RGB of at most `_MAX_SIDE`, not yet upright, its full size, and what its metadata tell."""

    image: PillowImage.Image
    orientation: int
    size: tuple[int, int]
    film_equivalent_mm: int | None


def _decoded(content: bytes, container: Container) -> Decoded:
    size = (container.width, container.height)
    wanted = reduced(size, _MAX_SIDE)
    try:
        with PillowImage.open(io.BytesIO(content), formats=(container.format,)) as image:
            if image.size != size:
                raise UploadRefused(422, "the picture's size is not what its header says: export it again")
            orientation, equivalent_mm = orientation_of(image), film_equivalent_mm(image)
            image.draft(None, wanted)  # a JPEG is decoded at a half or a quarter where that is enough
            image.load()
            rgb = _to_rgb(image)
            if rgb.size != wanted:
                rgb = rgb.resize(wanted, PillowImage.Resampling.BILINEAR, reducing_gap=2.0)
            return Decoded(rgb, orientation, size, equivalent_mm)
    except (UploadRefused, MemoryError):
        raise
    # Pillow's decoders raise almost any exception for damaged files with a valid header.
    except Exception as error:
        raise UploadRefused(422, "the picture is damaged or incomplete: export it again") from error


def _decoded_apart(content: bytes, container: Container) -> Decoded:
    """As `_decoded`, in a process of its own with little memory: the decoder reserves what the coded pictures say they
    need, which may be more than the container says."""
    size = container.width, container.height
    command = [sys.executable, "-m", decoder_process.__name__, *map(str, (*size, _MAX_SIDE))]
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=_DECODER_S, check=True)
        *full, width, height, orientation, equivalent_mm = decoder_process.HEAD.unpack_from(done.stdout)
        pixels = memoryview(done.stdout)[decoder_process.HEAD.size :]
        image = PillowImage.frombytes("RGB", (width, height), pixels)
        return Decoded(image, orientation, (full[0], full[1]), equivalent_mm or None)
    except (subprocess.SubprocessError, struct.error, ValueError) as error:
        said = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip()
        logger.info("a picture cannot be decoded: %s", printable(said.rpartition("\n")[2] or str(error), 300))
        raise UploadRefused(422, "the picture is damaged or incomplete: export it again") from error


def _to_rgb(image: PillowImage.Image) -> PillowImage.Image:
    """A decoded image of any mode as RGB, composed over white where it is transparent; always another object."""
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.int64) >> 8
        return PillowImage.fromarray(np.clip(levels, 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = PillowImage.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image.convert("RGB") if image.mode != "RGB" else image.copy()


def _encoded(image: PillowImage.Image, quality: int, equivalent_mm: int | None = None) -> bytes:
    # `info` could hold comments and profiles of the upload.
    image.info = {}
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, exif=b"" if equivalent_mm is None else exif_of_lens(equivalent_mm))
    return buffer.getvalue()
