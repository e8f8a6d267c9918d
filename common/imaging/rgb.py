"""Decoded pictures of any kind as sRGB."""

import io
import logging
from functools import cache

from PIL import Image as PillowImage
from PIL import ImageCms

logger = logging.getLogger(__name__)

# Of a profile's colours and a picture's.
_MODES = {"RGB ": "RGB", "CMYK": "CMYK", "GRAY": "L"}


def to_rgb(image: PillowImage.Image) -> PillowImage.Image:
    """A decoded picture of any mode as RGB of 8 bits, composed over white where it is transparent.

    Colours are those that its profile means (ICC.1). Grey levels of 16 bits are scaled to 8, those of 32 taken as 8.
    """
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I;16"):
        import numpy as np  # a decoder of uploads, which rarely needs it, starts in half of the time without it

        image = PillowImage.fromarray(np.rint(np.asarray(image) / 257.0).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = PillowImage.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        image = white
    elif image.mode not in _MODES.values():
        image = image.convert("RGB")
    if profile:
        image = _in_srgb(image, profile)
    return image if image.mode == "RGB" else image.convert("RGB")


def _in_srgb(image: PillowImage.Image, data: bytes) -> PillowImage.Image:
    """The picture in the colours that a profile means; as it is if the profile is damaged or of other colours."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        names_srgb = "sRGB" in (profile.profile.profile_description or "")
        if names_srgb or _MODES.get(profile.profile.xcolor_space) != image.mode:
            return image
        return ImageCms.profileToProfile(image, profile, _srgb(), outputMode="RGB") or image
    except (OSError, ValueError, TypeError, ImageCms.PyCMSError) as error:
        logger.debug("the colour profile of a picture cannot be used: %s", error)
        return image


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
