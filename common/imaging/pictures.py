"""Pictures as arrays: decoding and orientation, what EXIF says of the lens, and folders of them in order.

Metadata may be damaged in any way: what cannot be read is as if it were missing.

The eight orientations in which cameras store a picture, by EXIF's number (2.3, 4.6.4): 1 is upright.

Imports NumPy where it is needed: a decoder of uploads starts in half of the time without it.

HEIF pictures, as phones take them, for Pillow, which reads AVIF by itself.

pi-heif decodes only: unlike pillow-heif, its wheels have no encoder under the GPL.

Focal lengths: from the lens, guessed, and how sure they are.

A camera's focal length is given with `--focal-px`, told by the picture's EXIF data, or guessed.  Which of these it is
follows from the number, so that it need not be sent: a guess is a fixed multiple of the longer side, and EXIF data have
whole millimetres.
"""

import io
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from PIL import ExifTags, ImageCms
from PIL import Image as PillowImage
from PIL.TiffImagePlugin import TiffImageFile

if TYPE_CHECKING:
    from common.arrays import Image
    from common.frames import Camera

# A field of view of 2·atan(1/(2·1.2)) ≈ 45° along the longer side, between a phone's wide and normal lenses.
DEFAULT_FOCAL_RATIO = 1.2
EQUIVALENTS_MM = (8, 1200)
"""Lenses from fisheye to the longest that people are photographed with, for film of 35 mm."""
GUESSED_SIGMA = 0.4
"""Of a guess's logarithm: the spread about the default of webcams (0.7 and 0.9 times the longer side), of phones (0.75,
0.85 and 1.5) and of lenses of 35, 50 and 85 mm (0.97, 1.39 and 2.36)."""
EXIF_SIGMA = 0.04
"""Of EXIF data: millimetres are rounded, and the correction of distortion and of shake crop a few percent."""

_FILM_DIAGONAL_MM = math.hypot(36.0, 24.0)
# A packet has focal lengths in float32.
_ROUNDING = 3e-7


def guessed_focal_px(width: int, height: int) -> float:
    """The focal length of an image of which nothing is known, pixels."""
    return DEFAULT_FOCAL_RATIO * max(width, height)


def focal_px_of_equivalent(equivalent_mm: float, width: int, height: int) -> float:
    """Pixels of an equivalent for film of 35 mm, which refers to the diagonal (CIPA DCG-001)."""
    return equivalent_mm / _FILM_DIAGONAL_MM * math.hypot(width, height)


def focal_sigma(camera: "Camera") -> float:
    """Standard deviation of the logarithm of a camera's focal length; 0 for one that was given."""
    if _same(camera.focal_px, guessed_focal_px(camera.width, camera.height)):
        return GUESSED_SIGMA
    equivalent_mm = round(camera.focal_px / focal_px_of_equivalent(1, camera.width, camera.height))
    from_exif = focal_px_of_equivalent(equivalent_mm, camera.width, camera.height)
    shortest, longest = EQUIVALENTS_MM
    return EXIF_SIGMA if shortest <= equivalent_mm <= longest and _same(camera.focal_px, from_exif) else 0.0


def _same(focal_px: float, other_px: float) -> bool:
    return math.isclose(focal_px, other_px, rel_tol=_ROUNDING)


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


TRANSPOSED = 5
"""From here on, rows are stored as columns."""
_TURNS = {
    2: PillowImage.Transpose.FLIP_LEFT_RIGHT,
    3: PillowImage.Transpose.ROTATE_180,
    4: PillowImage.Transpose.FLIP_TOP_BOTTOM,
    5: PillowImage.Transpose.TRANSPOSE,
    6: PillowImage.Transpose.ROTATE_270,
    7: PillowImage.Transpose.TRANSVERSE,
    8: PillowImage.Transpose.ROTATE_90,
}
_MIRRORED_ROWS, _MIRRORED_COLUMNS = (3, 4, 7, 8), (2, 3, 6, 7)
# By the signs of a matrix: of its diagonal, or else of the other two entries, from x to y and from y to x.
_STRAIGHT = {(1, 1): 1, (-1, 1): 2, (-1, -1): 3, (1, -1): 4}
_TURNED = {(1, 1): 5, (1, -1): 6, (-1, -1): 7, (-1, 1): 8}


def upright(stored: "Image", orientation: int) -> "Image":
    """A picture (H, W, 3), or (W, H, 3) from 5 on, as it is to be seen; numbers but 2 to 8 change nothing."""
    import numpy as np

    image = stored.swapaxes(0, 1) if TRANSPOSED <= orientation <= 8 else stored
    if orientation in _MIRRORED_ROWS:
        image = image[::-1]
    if orientation in _MIRRORED_COLUMNS:
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def turned_upright(stored: PillowImage.Image, orientation: int) -> PillowImage.Image:
    """The same of a picture of Pillow's."""
    return stored.transpose(_TURNS[orientation]) if orientation in _TURNS else stored


def orientation_of_matrix(matrix: Sequence[int]) -> int:
    """The orientation that is nearest to a display matrix of a video (ISO/IEC 14496-12, 6.2.2); 1 if it is none.

    Args:
        matrix: nine numbers in rows, of which the first two of the first two rows turn: x' = a x + c y, y' = b x + d y.
    """
    a, b, _, c, d = matrix[:5]
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return _STRAIGHT.get((_sign(a), _sign(d)), 1)
    return _TURNED.get((_sign(b), _sign(c)), 1)


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


def register_heif() -> None:
    """Lets Pillow open HEIF, as the format `HEIF`: the main picture, turned as the file says."""
    import pi_heif  # takes 50 ms

    pi_heif.register_heif_opener(thumbnails=False)


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


ANIMATED: Final = ("GIF", "PNG", "WEBP", "AVIF")
CUT: Final = "cut"
PAGED: Final = frozenset({"TIFF", "HEIF"})
# Of all pictures together, half a minute of a processor: a file of some kilobytes may have thousands of large ones.
_MOST_PIXELS = 1_000_000_000
# Browsers take up to 10 ms for a time that was left out, and show the picture for 100 ms.
_LEFT_OUT_MS, _USUAL_MS = 10.0, 100.0
# Of a TIFF's pages, those that are smaller copies or masks of another (TIFF 6.0, NewSubfileType).
_SUBFILE_TYPE, _COPIES = 254, 0b101
# Brands of files with a track of pictures (ISO/IEC 23008-12), which Pillow does not play, and with pictures.
_SEQUENCE_BRANDS: Final = frozenset({b"avis", b"msf1", b"hevc", b"hevx"})
_PICTURE_BRANDS: Final = frozenset({b"avif", b"mif1", b"mif2", b"heic", b"heix", b"heim", b"heis"})
_RIFF_HEAD_BYTES = 12


def is_animation(image: PillowImage.Image) -> bool:
    """Whether an open file has pictures that follow each other in time."""
    return image.format in ANIMATED and getattr(image, "is_animated", False)


def is_sequence(head: bytes) -> bool:
    """Whether a file that begins with these bytes is HEIF or AVIF with a track of pictures, as a video has."""
    return not _SEQUENCE_BRANDS.isdisjoint(_brands(head))


def is_heif(head: bytes) -> bool:
    """Whether a file that begins with these bytes is HEIF or AVIF."""
    return is_sequence(head) or not _PICTURE_BRANDS.isdisjoint(_brands(head))


def _brands(head: bytes) -> Iterator[bytes]:
    size = int.from_bytes(head[:4], "big") if head[4:8] == b"ftyp" else 0
    yield from (head[at : at + 4] for at in range(8, min(size, 256), 4))


def open_image(file: Path | io.BytesIO, formats: tuple[str, ...]) -> PillowImage.Image:
    """An open file, of which nothing is decoded; raises as Pillow's `open`.

    A WebP file whose end is missing has what is whole of it, and `CUT` in its `info`.
    """
    try:
        return PillowImage.open(file, formats=formats)
    except OSError:
        with file.open("rb") if isinstance(file, Path) else io.BytesIO(file.getvalue()) as content:
            whole = _whole_webp(content)
        if whole is None:
            raise
        image = PillowImage.open(io.BytesIO(whole), formats=formats)
        image.info[CUT] = True
        return image


def _whole_webp(file: BinaryIO) -> bytes | None:
    """The content of a WebP file that is cut, without what is not whole; None of any other file. Raises OSError."""
    head = file.read(_RIFF_HEAD_BYTES)
    if head[:4] + head[8:] != b"RIFFWEBP":
        return None
    data = head + file.read()
    if 8 + int.from_bytes(data[4:8], "little") <= len(data):
        return None
    end = _RIFF_HEAD_BYTES
    # Chunks have an even number of bytes.
    while (following := end + 8 - int.from_bytes(data[end + 4 : end + 8], "little") // -2 * 2) <= len(data):
        end = following
    return b"RIFF" + (end - 8).to_bytes(4, "little") + data[8:end]


def picture_count(image: PillowImage.Image) -> int:
    """How many pictures an open file has, as far as it is whole; without those that show the same as another."""
    if image.format == "MPO":
        # Most have a preview or a map of the light beside the picture.
        pictures = getattr(image, "mpinfo", {}).get(0xB002, ())
        return max(1, sum("Multi-Frame" in str(each["Attribute"]["MPType"]) for each in pictures))
    count = 1
    with suppress(Exception):  # it is damaged behind the first one
        count = int(getattr(image, "n_frames", 1)) - _for_others(image)
        count = sum(1 for _ in pages(image)) if image.format == "TIFF" and count > 1 else count
        image.seek(0 if image.format == "TIFF" else image.tell())
    return count


def _for_others(image: PillowImage.Image) -> int:
    """1 if the first picture of an APNG is only for programs that do not play it."""
    return int(bool(getattr(image, "default_image", False)))


def pages(image: PillowImage.Image) -> Iterator[None]:
    """Turns the pages of an open file; smaller copies and masks are left out. Raises as Pillow's `seek`."""
    for index in range(int(getattr(image, "n_frames", 1))):
        image.seek(index)
        if not isinstance(image, TiffImageFile) or not int(image.tag_v2.get(_SUBFILE_TYPE, 0)) & _COPIES:
            yield


def excess(image: PillowImage.Image) -> str | None:
    """What an open animation has too much of to be decoded, as its head says; None if it does not."""
    pictures, (width, height) = picture_count(image), image.size
    if pictures * width * height <= _MOST_PIXELS:
        return None
    most = f"at most {_MOST_PIXELS // 10**6} million pixels are decoded"
    return f"has {pictures} frames of {width} × {height} pixels; {most}: shrink it, or export it as MP4"


def animation(image: PillowImage.Image) -> Iterator[float]:
    """Loads the pictures of an open animation, one after the other, composed as its format says.

    Yields:
        for how many seconds the one that is loaded is shown; loops are played once.

    Raises:
        Exception: what comes next is damaged or cut: whatever Pillow's decoders raise.
    """
    index = _for_others(image)
    while True:
        try:
            image.seek(index)
        except EOFError:
            return
        image.load()
        told_ms = float(image.info.get("duration") or 0)
        yield (told_ms if told_ms > _LEFT_OUT_MS else _USUAL_MS) / 1e3
        index += 1
