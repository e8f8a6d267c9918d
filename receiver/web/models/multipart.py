"""Reads the picture of `POST /upload` from a multipart body as it arrives, and stops at the first limit."""

import asyncio
from collections.abc import AsyncIterable
from dataclasses import dataclass

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from common.text import printable
from receiver.web.models.refusals import UploadRefused

FIELD = "image"
_OVERHEAD_BYTES = 16_384
_MAX_BOUNDARY, _MAX_PARTS, _MAX_NAME = 200, 8, 100
_STALL_S = 15.0
_NAMELESS = "picture"


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """The field `image`.

    Args:
        name: its file name, to show; no path.
        content: its bytes.
    """

    name: str
    content: bytes


def too_large(max_bytes: int) -> UploadRefused:
    """The refusal of a body that is too long."""
    return UploadRefused(413, f"the picture is larger than {max_bytes / 1e6:g} MB: shrink it")


def check_headers(content_type: str, content_length: str | None, max_bytes: int) -> bytes:
    """Refuses what the headers alone rule out; returns the boundary between the parts.

    Raises:
        UploadRefused: 413 too long, 415 no multipart form, 400 malformed.
    """
    kind, options = parse_options_header(content_type)
    if kind.lower() != b"multipart/form-data":
        raise UploadRefused(415, f"send the picture as the field {FIELD} of a form: Content-Type: multipart/form-data")
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= _MAX_BOUNDARY:
        raise UploadRefused(400, "the Content-Type has no boundary: let the HTTP client write this header")
    if content_length is not None:
        if not content_length.isascii() or not content_length.isdecimal():
            raise UploadRefused(400, "the Content-Length is not a number")
        if len(content_length) > 15 or int(content_length) > max_bytes + _OVERHEAD_BYTES:
            raise too_large(max_bytes)
    return boundary


async def read_upload(
    chunks: AsyncIterable[bytes], boundary: bytes, max_bytes: int, max_seconds: float
) -> UploadedFile:
    """Reads a form up to its end; no more than the limit is ever in memory.

    Args:
        chunks: the body as it arrives.
        max_seconds: time for all of it; none of its pauses may be longer than 15 s.

    Raises:
        UploadRefused: 400 malformed, 408 too slow, 413 too long, 415 without an image, 422 another field or a path.
    """
    form = _Form(boundary, max_bytes)
    iterator = aiter(chunks)
    try:
        async with asyncio.timeout(max_seconds):
            while True:
                try:
                    async with asyncio.timeout(_STALL_S):
                        chunk = await anext(iterator)
                except StopAsyncIteration:
                    return form.finish()
                form.feed(chunk)
    except TimeoutError as error:
        raise UploadRefused(408, "the picture came too slowly: shrink it, or use a faster connection") from error


class _Form:
    """The parser's callbacks: keeps the one file and counts everything."""

    def __init__(self, boundary: bytes, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._total = self._parts = 0
        self._header_name, self._header_value = bytearray(), bytearray()
        self._disposition = b""
        self._file: bytearray | None = None
        self._in_file = self._ended = False
        self._name = _NAMELESS
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_data,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._part_data,
                "on_part_end": self._part_end,
                "on_end": self._end,
            },
        )

    def feed(self, chunk: bytes) -> None:
        self._total += len(chunk)
        if self._total > self._max_bytes + _OVERHEAD_BYTES:
            raise too_large(self._max_bytes)
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise UploadRefused(400, "the body is not a multipart form: check the boundary") from error

    def finish(self) -> UploadedFile:
        if not self._ended:
            raise UploadRefused(400, "the form ends too early: send it again")
        if not self._file:
            raise UploadRefused(415, f"the form has no picture: send one as the field {FIELD}")
        return UploadedFile(self._name, bytes(self._file))

    def _part_begin(self) -> None:
        self._parts += 1
        self._disposition, self._in_file = b"", False
        if self._parts > _MAX_PARTS:
            raise UploadRefused(422, f"the form has more than {_MAX_PARTS} fields: send {FIELD} only")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _header_data(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_end(self) -> None:
        if bytes(self._header_name).lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        field = options.get(b"name", b"").decode("utf-8", "replace")
        if field != FIELD:
            raise UploadRefused(422, f"the form has the field {printable(field, 50)!r}: send {FIELD} only")
        if self._file is not None:
            raise UploadRefused(422, f"the form has several fields {FIELD}: send one picture at a time")
        self._file, self._in_file = bytearray(), True
        self._name = _shown_name(options.get(b"filename", b""))

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file and self._file is not None:
            self._file += data[start:end]
            if len(self._file) > self._max_bytes:
                raise too_large(self._max_bytes)

    def _part_end(self) -> None:
        self._in_file = False

    def _end(self) -> None:
        self._ended = True


def _shown_name(given: bytes) -> str:
    """A file name as it is shown in the list of models; it never names a file here.

    Raises:
        UploadRefused: it is a path.
    """
    name = given.decode("utf-8", "replace").strip()
    if any(part in name for part in ("/", "\\", "\0", "..")):
        raise UploadRefused(422, "the file name is a path: send the name only")
    return printable(name, _MAX_NAME) if name else _NAMELESS
