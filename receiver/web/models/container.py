"""What the bytes of a picture are, read without a decoder.

A decoder may reserve memory for the whole picture before anybody can look at its size. So format, size and structure
are read here first, in time that grows with the bytes only.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from receiver.web.uploads.refusals import UploadRefused

Format = Literal["JPEG", "PNG", "WEBP", "GIF", "HEIF", "AVIF"]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_JPEG_OTHER_FRAMES = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_JPEG_END, _JPEG_SCAN = 0xD9, 0xDA
# A marker within coded data: neither a stuffed byte nor a restart.
_NEXT_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
# Encoders write a dozen scans; each costs the decoder a pass over all pixels.
_MAX_SCANS, _MAX_PARTS = 24, 5000
_GIF = (b"GIF87a", b"GIF89a")
_GIF_EXTENSION, _GIF_IMAGE, _GIF_END = 0x21, 0x2C, 0x3B
# A GIF has its pixels in blocks of at most 255 bytes.
_MAX_GIF_BLOCKS = 200_000
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_BOX_NAME = re.compile(rb"[A-Za-z0-9 ]{4}")
_FULL_BOX_BYTES = 4  # version and flags, before the content
_OTHER_FORMATS = (
    (b"BM", "a BMP"),
    (b"II*\x00", "a TIFF"),
    (b"MM\x00*", "a TIFF"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a ZIP file"),
    (b"<", "text"),
)
_PDF_WITHIN = 1024
_ZIP_END, _ZIP_END_WITHIN = b"PK\x05\x06", 65_557
_FOREIGN_STARTS = (b"PK\x03\x04", b"%PDF-", b"Rar!", b"7z\xbc\xaf\x27\x1c", b"\x7fELF", b"MZ", b"#!")
_ACTIVE = re.compile(rb"<(?:html|script|svg|!doctype|\?php|iframe)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Container:
    """A picture's file, as far as its structure tells.

    Args:
        width, height: pixels, as stored.
        end: number of bytes that belong to the picture; what follows is dropped.
    """

    format: Format
    width: int
    height: int
    end: int


def read_container(content: bytes) -> Container:
    """Reads format, size and structure.

    Raises:
        UploadRefused: none of these formats (415); damaged, or another file behind or before it (422).
    """
    if content.startswith(b"\xff\xd8\xff"):
        container = _jpeg(content)
    elif content.startswith(_PNG):
        container = _png(content)
    elif content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        container = _webp(content)
    elif content.startswith(_GIF):
        container = _gif(content)
    elif content[4:8] == b"ftyp" and content[8:12] in (*_HEIF_BRANDS, *_AVIF_BRANDS):
        container = _heif(content)
    else:
        raise UploadRefused(415, f"{_guess(content)}: upload a JPEG, PNG, WebP, HEIC, AVIF or GIF picture")
    if min(container.width, container.height) < 1:
        raise _damaged()
    _refuse_polyglot(content, container.end)
    return container


def _guess(content: bytes) -> str:
    if not content.strip():
        return "the file is empty"
    if content[4:8] == b"ftyp":
        return "the file is a video"
    for start, kind in _OTHER_FORMATS:
        if content.startswith(start):
            return f"the file is {kind}"
    return "the file is no picture"


def _damaged() -> UploadRefused:
    return UploadRefused(422, "the picture is damaged or incomplete: export it again")


def _too_many_parts() -> UploadRefused:
    return UploadRefused(422, "the picture is coded in an unusual number of parts: export it again")


def _jpeg(content: bytes) -> Container:
    """Walks the markers up to the end of the image."""
    at, size, scans = 2, (0, 0), 0
    for _ in range(_MAX_PARTS):
        marker = content[at + 1 : at + 2]
        if content[at : at + 1] != b"\xff" or not marker:
            raise _damaged()
        code = marker[0]
        if code == 0xFF:
            at = _skip_fill(content, at)
            continue
        if code == _JPEG_END:
            return Container("JPEG", *size, end=at + 2)
        if code in _JPEG_ALONE:
            at += 2
            continue
        if code in _JPEG_OTHER_FRAMES:
            raise UploadRefused(415, "the picture is a lossless or arithmetic JPEG: export it as an ordinary one")
        length = int.from_bytes(content[at + 2 : at + 4], "big")
        if length < 2 or at + 2 + length > len(content):
            raise _damaged()
        if code in _JPEG_FRAMES:
            if size != (0, 0) or length < 8:
                raise _damaged()
            height, width = struct.unpack_from(">HH", content, at + 5)
            size = (width, height)
        at += 2 + length
        if code == _JPEG_SCAN:
            scans += 1
            found = _NEXT_MARKER.search(content, at)
            if found is None or size == (0, 0):
                raise _damaged()
            at = found.end() - 2
        if scans > _MAX_SCANS:
            break
    raise _too_many_parts()


def _skip_fill(content: bytes, at: int) -> int:
    """The last of the bytes 0xFF that fill the space before a marker."""
    found = re.compile(rb"\xff+").match(content, at)
    assert found is not None
    return found.end() - 1


def _png(content: bytes) -> Container:
    """Walks the chunks."""
    at, size = len(_PNG), (0, 0)
    # Encoders write chunks of 8 kB and more, so that many small ones are within the limit of any picture.
    for _ in range(_MAX_PARTS * 4):
        if at + 12 > len(content):
            raise _damaged()
        length, kind = struct.unpack_from(">I4s", content, at)
        if at + 12 + length > len(content) or (size == (0, 0)) != (kind == b"IHDR"):
            raise _damaged()
        if kind == b"IHDR":
            if length != 13:
                raise _damaged()
            size = struct.unpack_from(">II", content, at + 8)
        at += 12 + length
        if kind == b"IEND":
            return Container("PNG", *size, end=at)
    raise _too_many_parts()


def _webp(content: bytes) -> Container:
    """Reads the first chunk, which has the size in all three kinds of WebP."""
    end = 8 + int.from_bytes(content[4:8], "little")
    kind, body = content[12:16], content[20:30]
    if end > len(content) or len(body) < 10:
        raise _damaged()
    if kind == b"VP8X":
        size = (1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little"))
        _check_webp_frames(content, end, size)
    elif kind == b"VP8 ":
        size = _vp8_size(body)
    elif kind == b"VP8L":
        size = _vp8l_size(body)
    else:
        raise _damaged()
    return Container("WEBP", *size, end=end)


def _check_webp_frames(content: bytes, end: int, size: tuple[int, int], at: int = 12) -> None:
    """Each coded frame must have the size that the header says, because the decoder believes the frame; those of an
    animation may be parts of the picture."""
    for _ in range(_MAX_PARTS):
        if at + 8 > end:
            return
        kind, length = struct.unpack_from("<4sI", content, at)
        body = content[at + 8 : at + 18]
        if kind == b"ANMF":
            part = content[at + 8 : at + 8 + length]
            x, y, width, height = (int.from_bytes(part[first : first + 3], "little") for first in (0, 3, 6, 9))
            if length < 16 or 2 * x + width + 1 > size[0] or 2 * y + height + 1 > size[1]:
                raise _damaged()
            _check_webp_frames(part, len(part), (width + 1, height + 1), at=16)
        frame = _vp8_size(body) if kind == b"VP8 " else _vp8l_size(body) if kind == b"VP8L" else size
        if frame != size:
            raise _damaged()
        at += 8 + length + length % 2
    raise _too_many_parts()


def _vp8_size(body: bytes) -> tuple[int, int]:
    if len(body) < 10 or body[3:6] != b"\x9d\x01\x2a":
        raise _damaged()
    width, height = struct.unpack_from("<HH", body, 6)
    return width & 0x3FFF, height & 0x3FFF


def _vp8l_size(body: bytes) -> tuple[int, int]:
    if len(body) < 5 or body[0] != 0x2F:
        raise _damaged()
    bits = int.from_bytes(body[1:5], "little")
    return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)


def _gif(content: bytes) -> Container:
    """Walks the blocks; an animation counts as its first frame, which must lie within the picture."""
    if len(content) < 13:
        raise _damaged()
    screen_width, screen_height = struct.unpack_from("<HH", content, 6)
    at, frames = 13 + _gif_table_bytes(content[10]), 0
    for _ in range(_MAX_PARTS):
        kind = content[at : at + 1]
        if kind == bytes([_GIF_END]) and frames:
            return Container("GIF", screen_width, screen_height, at + 1)
        if kind == bytes([_GIF_EXTENSION]):
            at = _gif_blocks_end(content, at + 2)
        elif kind == bytes([_GIF_IMAGE]) and at + 10 <= len(content):
            x, y, width, height, flags = struct.unpack_from("<HHHHB", content, at + 1)
            if x + width > screen_width or y + height > screen_height:
                raise _damaged()
            at, frames = _gif_blocks_end(content, at + 11 + _gif_table_bytes(flags)), frames + 1
        else:
            raise _damaged()
    raise _too_many_parts()


def _gif_table_bytes(flags: int) -> int:
    """Size of the colour table that flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _gif_blocks_end(content: bytes, at: int) -> int:
    """Where a sequence of blocks ends."""
    for _ in range(_MAX_GIF_BLOCKS):
        if at >= len(content):
            raise _damaged()
        length = content[at]
        at += 1 + length
        if length == 0:
            return at
    raise _too_many_parts()


def _heif(content: bytes) -> Container:
    """Reads the boxes of ISO/IEC 23008-12. The size is the largest that any picture in the file says it has: tiles,
    thumbnails and depth maps are smaller than the picture that they belong to."""
    sizes: set[tuple[int, int]] = set()
    end = 0
    for name, first, after in _boxes(content, 0, len(content)):
        if name == b"meta" and not sizes:
            sizes = _picture_sizes(content, first + _FULL_BOX_BYTES, after)
        end = after
    if not sizes:
        raise UploadRefused(415, "the file is a HEIF sequence without a picture: upload one of its frames")
    brands = content[8 : int.from_bytes(content[:4], "big")]
    avif = any(brand in brands for brand in _AVIF_BRANDS)
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return Container("AVIF" if avif else "HEIF", width, height, end)


def _picture_sizes(content: bytes, start: int, end: int) -> set[tuple[int, int]]:
    """Width and height of the images that a `meta` box describes, in its properties."""
    for wanted in (b"iprp", b"ipco"):
        found = [(first, after) for name, first, after in _boxes(content, start, end) if name == wanted]
        if len(found) != 1:
            return set()
        ((start, end),) = found
    sizes = [(first, after) for name, first, after in _boxes(content, start, end) if name == b"ispe"]
    if any(after - first < _FULL_BOX_BYTES + 8 for first, after in sizes):
        raise _damaged()
    return {struct.unpack_from(">II", content, first + _FULL_BOX_BYTES) for first, _ in sizes}


def _boxes(content: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start of the content and end of each box; what follows the last whole one is no box."""
    at = start
    for _ in range(_MAX_PARTS):
        name = content[at + 4 : at + 8]
        if at + 8 > end or not _BOX_NAME.fullmatch(name):
            return
        length, first = int.from_bytes(content[at : at + 4], "big"), at + 8
        if length == 1:
            length, first = int.from_bytes(content[at + 8 : at + 16], "big"), at + 16
        elif length == 0:
            length = end - at
        if length < first - at or at + length > end:
            if name in (b"ftyp", b"meta", b"mdat"):
                raise _damaged()
            return
        yield name, first, at + length
        at += length
    raise _too_many_parts()


def _refuse_polyglot(content: bytes, end: int) -> None:
    """Refuses documents, archives and programs beside a picture; films that cameras append are dropped."""
    behind = content[end:]
    if (
        b"%PDF-" in content[:_PDF_WITHIN]
        or _ZIP_END in content[-_ZIP_END_WITHIN:]
        or behind.lstrip(b"\x00\r\n\t ").startswith(_FOREIGN_STARTS)
        or _ACTIVE.search(behind)
    ):
        raise UploadRefused(422, "the file holds another file beside the picture: export the picture again")
