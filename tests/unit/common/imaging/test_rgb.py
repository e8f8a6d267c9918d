"""Colours are those that a picture's profile means."""

import pytest
from PIL import Image as PillowImage
from PIL import ImageCms

from common.imaging.pictures import to_rgb

RED, GREEN = (255, 0, 0), (0, 255, 0)


def swapping_profile() -> bytes:
    """A profile whose first colour is the green of sRGB, and whose second one is its red."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for old, new in (
        (b"rXYZ", b"????"),
        (b"gXYZ", b"rXYZ"),
        (b"????", b"gXYZ"),
        ("sRGB".encode("utf-16-be"), b"\0x" * 4),
    ):
        data = data.replace(old, new)
    return data


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_profile_is_applied(mode: str) -> None:
    picture = PillowImage.new("RGB", (4, 4), RED).convert(mode)
    picture.info["icc_profile"] = swapping_profile()
    assert to_rgb(picture).getpixel((1, 1)) == pytest.approx(GREEN, abs=3)


@pytest.mark.parametrize(
    "profile", [ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), b"", b"no profile", bytes(3000)]
)
def test_picture_without_a_profile_that_says_otherwise_is_srgb(profile: bytes) -> None:
    picture = PillowImage.new("RGB", (4, 4), RED)
    picture.info["icc_profile"] = profile
    assert to_rgb(picture).getpixel((1, 1)) == RED


def test_profile_of_other_colours_than_the_picture_has_is_ignored() -> None:
    picture = PillowImage.new("L", (4, 4), 100)
    picture.info["icc_profile"] = swapping_profile()
    assert to_rgb(picture).getpixel((1, 1)) == (100, 100, 100)
