"""What the bytes of a picture are, read without a decoder.

A decoder may reserve memory for the whole picture before anybody can look at its size. So format, size and structure
are read here first, in time that grows with the bytes only.
"""

import re
import struct
from dataclasses import dataclass
from typing import Literal

from receiver.web.models.refusals import UploadRefused

Format = Literal["JPEG", "PNG", "WEBP"]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_JPEG_OTHER_FRAMES = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_JPEG_END, _JPEG_SCAN = 0xD9, 0xDA
# A marker within coded data: neither a stuffed byte nor a restart.
_NEXT_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
# Encoders write a dozen scans; each costs the decoder a pass over all pixels.
_MAX_SCANS, _MAX_PARTS = 24, 5000
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")
_OTHER_FORMATS = (
    (b"GIF8", "a GIF"),
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
        UploadRefused: no JPEG, PNG or WebP (415); animated, damaged, or another file behind or before it (422).
    """
    if content.startswith(b"\xff\xd8\xff"):
        container = _jpeg(content)
    elif content.startswith(_PNG):
        container = _png(content)
    elif content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        container = _webp(content)
    else:
        raise UploadRefused(415, f"{_guess(content)}: upload a JPEG, PNG or WebP picture")
    if min(container.width, container.height) < 1:
        raise _damaged()
    _refuse_polyglot(content, container.end)
    return container


def _guess(content: bytes) -> str:
    if not content.strip():
        return "the file is empty"
    if content[4:8] == b"ftyp" and content[8:12] in _HEIF_BRANDS:
        return "the file is a HEIC or AVIF picture, which cannot be read here"
    for start, kind in _OTHER_FORMATS:
        if content.startswith(start):
            return f"the file is {kind}"
    return "the file is no picture"


def _damaged() -> UploadRefused:
    return UploadRefused(422, "the picture is damaged or incomplete: export it again")


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
    raise UploadRefused(422, "the picture is coded in an unusual number of parts: export it again")


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
        if kind == b"acTL":
            raise _animated()
        at += 12 + length
        if kind == b"IEND":
            return Container("PNG", *size, end=at)
    raise UploadRefused(422, "the picture is coded in an unusual number of parts: export it again")


def _animated() -> UploadRefused:
    return UploadRefused(422, "the picture is animated: upload one of its frames")


def _webp(content: bytes) -> Container:
    """Reads the first chunk, which has the size in all three kinds of WebP."""
    end = 8 + int.from_bytes(content[4:8], "little")
    kind, body = content[12:16], content[20:30]
    if end > len(content) or len(body) < 10:
        raise _damaged()
    if kind == b"VP8X":
        if body[0] & 0x02:
            raise _animated()
        size = (1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little"))
        _check_webp_frames(content, end, size)
    elif kind == b"VP8 ":
        size = _vp8_size(body)
    elif kind == b"VP8L":
        size = _vp8l_size(body)
    else:
        raise _damaged()
    return Container("WEBP", *size, end=end)


def _check_webp_frames(content: bytes, end: int, size: tuple[int, int]) -> None:
    """Each coded frame must have the size that the header says, because the decoder believes the frame."""
    at = 12
    for _ in range(_MAX_PARTS):
        if at + 8 > end:
            return
        kind, length = struct.unpack_from("<4sI", content, at)
        body = content[at + 8 : at + 18]
        if kind in (b"ANIM", b"ANMF"):
            raise _animated()
        frame = _vp8_size(body) if kind == b"VP8 " else _vp8l_size(body) if kind == b"VP8L" else size
        if frame != size:
            raise _damaged()
        at += 8 + length + length % 2
    raise UploadRefused(422, "the picture is coded in an unusual number of parts: export it again")


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
