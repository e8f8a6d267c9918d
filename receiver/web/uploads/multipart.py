"""Reads the one file of a multipart body as it arrives, into memory or a folder, and stops at the first limit."""

import asyncio
import io
from collections.abc import AsyncIterable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from common.text import printable
from receiver.publish.output_files import output_errors
from receiver.web.uploads.refusals import UploadRefused

_OVERHEAD_BYTES = 16_384
_MAX_BOUNDARY, _MAX_NAME = 200, 100
_STALL_S = 15.0


@dataclass(frozen=True, slots=True)
class UploadForm:
    """What a form has to have.

    Args:
        field: its one field, a file.
        noun: what the file is, for messages.
        max_seconds: time for all of it; none of its pauses may be longer than 15 s.
        folder: where the file is written; without it, the file is kept in memory.
    """

    field: str
    noun: str
    max_bytes: int
    max_seconds: float
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file name, to show, which is no path, and the bytes, or where they are."""

    name: str
    content: bytes = b""
    path: Path | None = None


def check_headers(content_type: str, content_length: str | None, form: UploadForm) -> bytes:
    """The boundary between the parts. Raises UploadRefused: 413 too long, 415 no multipart form, 400 malformed."""
    kind, options = parse_options_header(content_type)
    if kind.lower() != b"multipart/form-data":
        how = f"send the {form.noun} as the field {form.field} of a form: Content-Type: multipart/form-data"
        raise UploadRefused(415, how)
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= _MAX_BOUNDARY:
        raise UploadRefused(400, "the Content-Type has no boundary: let the HTTP client write this header")
    if content_length is not None:
        if not content_length.isascii() or not content_length.isdecimal():
            raise UploadRefused(400, "the Content-Length is not a number")
        if len(content_length) > 15 or int(content_length) > form.max_bytes + _OVERHEAD_BYTES:
            raise _too_large(form)
    return boundary


async def read_upload(chunks: AsyncIterable[bytes], boundary: bytes, form: UploadForm) -> UploadedFile:
    """Reads a form up to its end; no more than the limit is ever in memory or in the folder.

    Raises:
        UploadRefused: 400 malformed, 408 too slow, 413 too long, 415 without a file, 422 another field or a path.
        OutputError: the folder cannot be written.
    """
    written = nullcontext() if form.folder is None else output_errors(form.folder)
    with written, closing(_Reader(boundary, form)) as reader:
        try:
            async with asyncio.timeout(form.max_seconds):
                await _feed(reader, chunks)
        except TimeoutError as error:
            detail = f"the {form.noun} came too slowly: shrink it, or use a faster connection"
            raise UploadRefused(408, detail) from error
        return reader.finish()


async def _feed(reader: "_Reader", chunks: AsyncIterable[bytes]) -> None:
    """Raises TimeoutError when nothing comes for too long."""
    iterator = aiter(chunks)
    while True:
        try:
            async with asyncio.timeout(_STALL_S):
                chunk = await anext(iterator)
        except StopAsyncIteration:
            return
        reader.feed(chunk)


class _Reader:
    """Keeps the one file of a form."""

    def __init__(self, boundary: bytes, form: UploadForm) -> None:
        self._form, self._total, self._size, self._ended = form, 0, 0, False
        self._headers: dict[bytes, bytes] = {}
        self._header = self._value = b""
        self._name: str | None = None
        self._path = None if form.folder is None else form.folder / "upload"
        self._file: BinaryIO = io.BytesIO() if self._path is None else self._path.open("wb")
        self._parser = MultipartParser(
            boundary,
            {
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers,
                "on_part_data": self._on_data,
                "on_end": self._on_end,
            },
        )

    def close(self) -> None:
        self._file.close()

    def feed(self, chunk: bytes) -> None:
        self._total += len(chunk)
        if self._total > self._form.max_bytes + _OVERHEAD_BYTES:
            raise _too_large(self._form)
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise UploadRefused(400, "the body is not a multipart form: check the boundary") from error

    def finish(self) -> UploadedFile:
        form = self._form
        if not self._ended:
            raise UploadRefused(400, "the form ends too early: send it again")
        if self._name is None or not self._size:
            raise UploadRefused(415, f"the form has no {form.noun}: send one as the field {form.field}")
        self._file.flush()
        content = self._file.getvalue() if isinstance(self._file, io.BytesIO) else b""
        return UploadedFile(self._name, content, self._path)

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def _on_headers(self) -> None:
        """The head of a part has ended."""
        form = self._form
        disposition, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._headers = {}
        if disposition != b"form-data" or b"name" not in options:
            raise UploadRefused(400, "a part of the form has no name: let the HTTP client write the form")
        field = options[b"name"].decode("utf-8", "replace")
        if field != form.field:
            raise UploadRefused(422, f"the form has the field {printable(field, 50)!r}: send {form.field} only")
        if self._name is not None:
            raise UploadRefused(422, f"the form has several fields {form.field}: send one {form.noun} at a time")
        self._name = _shown_name(options.get(b"filename", b""), form.noun)

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._size > self._form.max_bytes:
            raise _too_large(self._form)
        self._file.write(data[start:end])

    def _on_end(self) -> None:
        self._ended = True


def _too_large(form: UploadForm) -> UploadRefused:
    return UploadRefused(413, f"the {form.noun} is larger than {form.max_bytes / 1e6:g} MB: shrink it")


def _shown_name(given: bytes, noun: str) -> str:
    """A file name to show in a list; it never names a file here. Raises UploadRefused for a path."""
    name = given.decode("utf-8", "replace").strip()
    if any(part in name for part in ("/", "\\", "\0", "..")):
        raise UploadRefused(422, "the file name is a path: send the name only")
    return printable(name, _MAX_NAME) if name else noun
