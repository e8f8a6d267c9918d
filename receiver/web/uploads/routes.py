"""Takes an upload of any kind from its request, and answers it: with its result, or line by line as it goes on."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, closing
from typing import Any, Protocol, TypeVar

from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect

from common.errors import OutputError
from receiver.web.accounts.store import Account
from receiver.web.problems import problem, problems, retry_later
from receiver.web.uploads.errors import UploadRefused
from receiver.web.uploads.form import UploadForm, read_form
from receiver.web.uploads.jobs import Job

logger = logging.getLogger(__name__)

T = TypeVar("T")

NDJSON = "application/x-ndjson"
_PROGRESS = {
    "description": f"With `Accept: {NDJSON}`: one JSON object a line, `stage`, then `done` or `error`.",
    "content": {NDJSON: {"schema": {"type": "string"}}},
}
UPLOAD_RESPONSES = {**problems(400, 401, 403, 408, 409, 413, 415, 422, 429, 503), 200: _PROGRESS}
"""Of routes that take an upload, for the OpenAPI document."""


class Uploads(Protocol[T]):
    """What takes uploads of one kind."""

    form: UploadForm

    def admit(self, account: Account) -> AbstractAsyncContextManager[None]:
        """Admits a body until the block ends. Raises UploadRefused."""

    async def begin(self, account: Account, place: ExitStack, file: UploadFile) -> Job[T]:
        """Checks a file, and begins to work on it; what it keeps in `place` goes at the end. Raises UploadRefused."""

    def ended(self, error: BaseException | None, seconds: float) -> None:
        """An upload has ended before it became a job."""


def form_body(field: str, described: str) -> dict[str, Any]:
    """A form with one file, for the OpenAPI document."""
    properties = {field: {"type": "string", "format": "binary", "description": described}}
    schema = {"type": "object", "required": [field], "properties": properties, "additionalProperties": False}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


async def begun(request: Request, uploads: Uploads[T], account: Account) -> Job[T]:
    """Admits an upload, reads and checks its file, and begins to work on it. Raises HTTPException."""
    began_s = time.perf_counter()
    try:
        async with uploads.admit(account):
            file = await read_form(request, uploads.form)
            with closing(file.file), ExitStack() as place:
                return await uploads.begin(account, place, file)
    except (UploadRefused, ClientDisconnect) as error:
        left = UploadRefused(400, "the connection ended before the file had arrived")
        refused = error if isinstance(error, UploadRefused) else left
        uploads.ended(refused, time.perf_counter() - began_s)
        refusal = as_problem(refused)
        # The rest of the body is not read: the connection cannot be used again.
        refusal.headers = {**(refusal.headers or {}), "Connection": "close"}
        raise refusal from error


async def lines(job: Job[T], result: Callable[[T], Mapping[str, Any]]) -> AsyncIterator[str]:
    """The progress of a job, and its result or error, as lines of JSON."""
    async for event in job.events():
        yield _line({"event": "stage", **event})
    try:
        done = await job.finished()
    except UploadRefused as error:
        yield _line({"event": "error", "status": error.status, "detail": error.detail})
    except OutputError as error:
        logger.error("%s", error)
        yield _line({"event": "error", "status": 503, "detail": "it could not be stored: try again later"})
    else:
        yield _line({"event": "done", **result(done)})


async def finished(job: Job[T]) -> T:
    """The result of a job. Raises HTTPException or OutputError."""
    try:
        return await job.finished()
    except UploadRefused as error:
        raise as_problem(error) from error


def cancel_when_left(request: Request, job: Job[Any]) -> None:
    """Cancels a job when its client ends the connection."""

    async def until_left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        job.result.cancel()

    leaving = asyncio.create_task(until_left(), name="client of an upload")
    job.result.add_done_callback(lambda _: leaving.cancel())


def as_problem(error: UploadRefused) -> HTTPException:
    """The refusal as an error of a route."""
    if error.wait_s:
        return retry_later(error.status, error.detail, error.wait_s)
    return problem(error.status, error.detail)


def _line(event: Mapping[str, Any]) -> str:
    return json.dumps(event, separators=(",", ":"), allow_nan=False) + "\n"
