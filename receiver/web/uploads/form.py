"""The form of an upload: one file, read by Starlette's parser within limits of size and time."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from common.errors import OutputError
from common.text import printable
from receiver.web.refused import Refused
from receiver.web.serving.pace import LEAST_BYTES_PER_S, paced

# Boundaries and heads of the parts.
_OVERHEAD_BYTES = 16_384
_MAX_NAME = 100


@dataclass(frozen=True, slots=True)
class UploadForm:
    """What a form has to have.

    Args:
        field: its one field, a file.
        noun: what the file is, for messages.
        max_seconds: within which all of it must have arrived.
    """

    field: str
    noun: str
    max_bytes: int
    max_seconds: float

    def too_large(self) -> Refused:
        """The refusal of a larger file."""
        return Refused(413, f"the {self.noun} is larger than {self.max_bytes / 1e6:g} MB: shrink it")


async def read_form(
    request: Request, form: UploadForm, least_bytes_per_s: Callable[[], float] = lambda: LEAST_BYTES_PER_S
) -> UploadFile:
    """Reads the file of a form, to a temporary file if it is large; close it.

    Args:
        least_bytes_per_s: that the client has to reach now (`receiver.web.serving.pace`).

    Raises:
        Refused: 400 malformed, 408 too slow, 413 too large, 415 without a file.
        ClientDisconnect: the client has left.
        OutputError: there is no room for a temporary file.
    """
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        how = f"send the {form.noun} as the field {form.field} of a form: Content-Type: multipart/form-data"
        raise Refused(415, how)
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > form.max_bytes + _OVERHEAD_BYTES:
        raise form.too_large()
    parser = MultiPartParser(
        request.headers, paced(_limited(request, form), least_bytes_per_s), max_files=1, max_fields=0
    )
    try:
        async with asyncio.timeout(form.max_seconds):
            parsed = await parser.parse()
    except MultiPartException as error:
        detail = f"the body is no form with one file as the field {form.field}: {printable(str(error.message), 100)}"
        raise Refused(400, detail) from error
    except TimeoutError as error:
        raise Refused(408, f"the {form.noun} came too slowly: shrink it, or use a faster connection") from error
    except OSError as error:
        where = f"in {tempfile.gettempdir()} ({error.strerror}): TMPDIR names another folder"
        raise OutputError(f"cannot keep an upload {where}") from error
    file = parsed.get(form.field)
    if not isinstance(file, UploadFile) or not file.size:
        await parsed.close()
        raise Refused(415, f"the form has no {form.noun}: send one as the field {form.field}")
    if file.size > form.max_bytes:
        await file.close()
        raise form.too_large()
    return file


async def _limited(request: Request, form: UploadForm) -> AsyncGenerator[bytes, None]:
    """The body. Raises Refused as soon as it is too large."""
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
        if total > form.max_bytes + _OVERHEAD_BYTES:
            raise form.too_large()
        yield chunk


def shown_name(file: UploadFile, noun: str) -> str:
    """The name of a file without folders, to show in a list; it never names a file here."""
    name = (file.filename or "").replace("\\", "/").rpartition("/")[2].strip()
    return printable(name, _MAX_NAME) if name else noun
