"""Reads the picture of `POST /upload` from a multipart body as it arrives, and stops at the first limit."""

import asyncio
from collections.abc import AsyncIterable
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from common.text import printable
from receiver.web.models.refusals import UploadRefused

FIELD = "image"
_OVERHEAD_BYTES = 16_384
_MAX_BOUNDARY, _MAX_NAME = 200, 100
_STALL_S = 15.0
_NAMELESS = "picture"


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """The field `image`: its file name, to show, which is no path, and its bytes."""

    name: str
    content: bytes


def check_headers(content_type: str, content_length: str | None, max_bytes: int) -> bytes:
    """The boundary between the parts. Raises UploadRefused: 413 too long, 415 no multipart form, 400 malformed."""
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
            raise _too_large(max_bytes)
    return boundary


async def read_upload(
    chunks: AsyncIterable[bytes], boundary: bytes, max_bytes: int, max_seconds: float
) -> UploadedFile:
    """Reads a form up to its end; no more than the limit is ever in memory.

    Args:
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
    """Keeps the one file of a form."""

    def __init__(self, boundary: bytes, max_bytes: int) -> None:
        self._max_bytes, self._total, self._ended = max_bytes, 0, False
        self._file: UploadedFile | None = None
        # The parser would put what is larger than this on the disk.
        settings = {"MAX_MEMORY_FILE_SIZE": max_bytes + _OVERHEAD_BYTES}
        self._parser = FormParser("multipart/form-data", self._take, self._take, self._end, boundary, config=settings)

    def feed(self, chunk: bytes) -> None:
        self._total += len(chunk)
        if self._total > self._max_bytes + _OVERHEAD_BYTES:
            raise _too_large(self._max_bytes)
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise UploadRefused(400, "the body is not a multipart form: check the boundary") from error

    def finish(self) -> UploadedFile:
        if not self._ended:
            raise UploadRefused(400, "the form ends too early: send it again")
        if self._file is None or not self._file.content:
            raise UploadRefused(415, f"the form has no picture: send one as the field {FIELD}")
        return self._file

    def _take(self, part: Field | File) -> None:
        """A part has ended."""
        field = (part.field_name or b"").decode("utf-8", "replace")
        if field != FIELD:
            raise UploadRefused(422, f"the form has the field {printable(field, 50)!r}: send {FIELD} only")
        if self._file is not None:
            raise UploadRefused(422, f"the form has several fields {FIELD}: send one picture at a time")
        if isinstance(part, File):
            part.file_object.seek(0)
            name, content = _shown_name(part.file_name or b""), part.file_object.read()
        else:
            name, content = _NAMELESS, part.value or b""
        if len(content) > self._max_bytes:
            raise _too_large(self._max_bytes)
        self._file = UploadedFile(name, content)

    def _end(self) -> None:
        self._ended = True


def _too_large(max_bytes: int) -> UploadRefused:
    return UploadRefused(413, f"the picture is larger than {max_bytes / 1e6:g} MB: shrink it")


def _shown_name(given: bytes) -> str:
    """A file name to show in the list of models; it never names a file here. Raises UploadRefused for a path."""
    name = given.decode("utf-8", "replace").strip()
    if any(part in name for part in ("/", "\\", "\0", "..")):
        raise UploadRefused(422, "the file name is a path: send the name only")
    return printable(name, _MAX_NAME) if name else _NAMELESS
