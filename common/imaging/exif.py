"""What the EXIF data of a picture tell of its orientation and its lens.

Metadata may be damaged in any way: what cannot be read is as if it were missing.
"""

import logging
from collections.abc import Mapping
from typing import Any

from PIL import ExifTags
from PIL import Image as PillowImage

from common.imaging.focal_length import EQUIVALENTS_MM, focal_px_of_equivalent

logger = logging.getLogger(__name__)

# Relative difference of the proportions from which a picture was cropped.
_CROPPED = 0.02


def orientation_of(image: PillowImage.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 is upright."""
    value = _tags(image).get(ExifTags.Base.Orientation, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def film_equivalent_mm(image: PillowImage.Image) -> int | None:
    """The focal length for film of 35 mm, millimetres; None if it is missing or unlikely.

    It holds for a picture that was scaled, but not for one that was cropped: where the metadata tell the camera's size,
    proportions have to be the same.
    """
    tags = _tags(image, ExifTags.IFD.Exif)
    try:
        equivalent = round(tags.get(ExifTags.Base.FocalLengthIn35mmFilm, 0))
        sides = [float(tags.get(tag, 0.0)) for tag in (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)]
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        return None
    shorter, longer = sorted(image.size)
    if min(sides) > 0 and abs(min(sides) / max(sides) * longer / shorter - 1) > _CROPPED:
        return None
    return equivalent if EQUIVALENTS_MM[0] <= equivalent <= EQUIVALENTS_MM[1] else None


def focal_length_px(image: PillowImage.Image) -> float | None:
    """The focal length in pixels, by its equivalent."""
    equivalent = film_equivalent_mm(image)
    return None if equivalent is None else focal_px_of_equivalent(equivalent, *image.size)


def exif_of_lens(equivalent_mm: int) -> bytes:
    """EXIF data that tell a focal length for film of 35 mm, and nothing else."""
    exif = PillowImage.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = equivalent_mm
    return exif.tobytes()


def _tags(image: PillowImage.Image, block: ExifTags.IFD | None = None) -> Mapping[int, Any]:
    try:
        exif = image.getexif()
        return exif if block is None else exif.get_ifd(block)
    except Exception as error:  # Pillow's readers raise almost any exception for damaged metadata.
        logger.debug("the metadata of a picture cannot be read: %s", error)
        return {}
