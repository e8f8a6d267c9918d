"""Reads an uploaded picture, in the process of `decoder_process`: checked, turned upright, and coded again without
anything but pixels and focal length.

The process lives for one picture: nothing is imported that most of them do without.
"""

import io
from typing import Any

from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from common.imaging.pictures import (
    TRANSPOSED,
    exif_of_lens,
    film_equivalent_mm,
    orientation_of,
    picture_count,
    register_heif,
    to_rgb,
    turned_upright,
)
from receiver.web.refused import Refused
from receiver.web.uploads.limits import check_size

_FORMATS, _OF_CONTAINERS = ("JPEG", "PNG", "WEBP", "GIF"), ("HEIF", "AVIF")
# Perception reads crops of some hundred pixels, so that a longer side adds time only.
_MAX_SIDE, _SHOWN_SIDE = 2560, 1024
_MAX_RATIO = 20
_QUALITY, _SHOWN_QUALITY = 95, 85


def read_picture(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The facts of a `DecodedPicture`, and both of its pictures.

    Raises:
        Refused: it is no picture (415), too large (413), or cannot be used (422).
    """
    is_contained = content[4:8] == b"ftyp"
    if is_contained:
        register_heif()
    # The size is checked before anything is decoded.
    PillowImage.MAX_IMAGE_PIXELS = None
    try:
        return _read(content, _OF_CONTAINERS if is_contained else _FORMATS)
    except Refused:
        raise
    except UnidentifiedImageError as error:
        what = "the file is no picture" if content.strip() else "the file is empty"
        raise Refused(415, f"{what}: upload a JPEG, PNG, WebP, HEIC, AVIF or GIF picture") from error
    except MemoryError as error:
        raise Refused(413, "the picture takes too much memory: shrink it") from error
    # Pillow's decoders raise almost any exception for damaged files with a valid header.
    except Exception as error:
        raise Refused(422, "the picture is damaged or incomplete: export it again") from error


def _read(content: bytes, formats: tuple[str, ...]) -> tuple[dict[str, Any], bytes]:
    with PillowImage.open(io.BytesIO(content), formats=formats) as opened:
        width, height = opened.size
        check_size("picture", width, height)
        if max(width, height) > _MAX_RATIO * min(width, height):
            raise Refused(422, f"the picture has {width} × {height} pixels: cut out the people")
        pictures = picture_count(opened)
        orientation, equivalent_mm = orientation_of(opened), film_equivalent_mm(opened)
        wanted = _reduced(width, height)
        opened.draft(None, wanted)  # a JPEG is decoded at a half or a quarter where that is enough
        opened.load()
        image = to_rgb(opened)
    if image.size != wanted:
        image = image.resize(wanted, PillowImage.Resampling.BILINEAR, reducing_gap=2.0)
    image = turned_upright(image, orientation)
    if orientation >= TRANSPOSED:
        width, height = height, width
    picture = _encoded(image, _QUALITY, equivalent_mm)
    image.thumbnail((_SHOWN_SIDE, _SHOWN_SIDE), PillowImage.Resampling.BILINEAR, reducing_gap=2.0)
    facts = {"width": width, "height": height, "pictures": pictures, "content_bytes": len(picture)}
    return facts, picture + _encoded(image, _SHOWN_QUALITY)


def _reduced(width: int, height: int) -> tuple[int, int]:
    """The size of a picture whose longer side is at most `_MAX_SIDE`."""
    scale = min(1.0, _MAX_SIDE / max(width, height))
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _encoded(image: PillowImage.Image, quality: int, equivalent_mm: int | None = None) -> bytes:
    # `info` could hold comments and profiles of the upload.
    image.info = {}
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, exif=b"" if equivalent_mm is None else exif_of_lens(equivalent_mm))
    return buffer.getvalue()
