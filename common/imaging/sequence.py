"""Image files with several pictures: animations, whose pictures follow each other in time, and pages, which do not."""

import io
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from PIL import Image as PillowImage
from PIL.TiffImagePlugin import TiffImageFile

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
