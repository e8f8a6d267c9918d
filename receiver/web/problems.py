"""Answers to requests that fail, and limits of how slowly clients may send and read."""

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict

from common.errors import OutputError, UsageError
from common.text import printable
from receiver.publish.session_records import SessionInUse
from receiver.web.guards import SAFE_METHODS
from receiver.web.places import Refused

PACE_S = 10.0
"""Seconds in which a rate has to be reached."""
LEAST_BYTES_PER_S = 8_000
"""Of the slowest phones."""


async def paced(chunks: AsyncIterator[bytes], least_bytes_per_s: Callable[[], float]) -> AsyncGenerator[bytes, None]:
    """The chunks of a body, whose client has `PACE_S` for as many bytes as that is at the least rate, again and again.

    Raises TimeoutError when they have not come. What is done between two chunks takes no time of the client's.
    """
    loop = asyncio.get_running_loop()
    left_s, came = PACE_S, 0
    while True:
        began_s = loop.time()
        async with asyncio.timeout(left_s):
            chunk = await anext(chunks, None)
        if chunk is None:
            return
        left_s, came = left_s - (loop.time() - began_s), came + len(chunk)
        if came >= PACE_S * least_bytes_per_s():
            left_s, came = PACE_S, 0
        yield chunk


_MAX_BYTES = 8192


class Given(BaseModel):
    """A body that has exactly these fields."""

    model_config = ConfigDict(extra="forbid", strict=True)


class SmallBodyRoute(APIRoute):
    """A route that answers 413 to a body above 8 kB, or of unknown size, before it is read, and 408 to a slow one."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with a limited body."""
        handler = super().get_route_handler()

        async def limited(request: Request) -> Response:
            length = request.headers.get("content-length", "0")
            if "transfer-encoding" in request.headers or not length.isdecimal() or int(length) > _MAX_BYTES:
                raise Refused(413, f"send a body of at most {_MAX_BYTES} bytes, whole")
            try:
                async with asyncio.timeout(PACE_S):
                    await request.body()
            except TimeoutError as error:
                raise Refused(408, "the body came too slowly: send it again") from error
            return await handler(request)

        return limited


logger = logging.getLogger(__name__)

_MAX_DETAIL = 300


class Problem(BaseModel):
    """What is wrong, and what to do."""

    detail: str


_STATUSES = (400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503)
_RETRY_AFTER = {"Retry-After": {"description": "seconds", "schema": {"type": "integer", "minimum": 1}}}
PROBLEMS: Mapping[int | str, dict[str, Any]] = {
    status: {"model": Problem, "headers": _RETRY_AFTER if status in (429, 503) else {}} for status in _STATUSES
}
"""The errors of routes, for the OpenAPI document."""
_BINARY = {"description": "The file.", "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}}
FILE: Mapping[str, Any] = {"response_class": Response, "responses": {200: _BINARY}}
"""What a route that answers with a file says of its answers."""


def add_problem_handlers(app: FastAPI) -> None:
    """Answers errors of routes in this form."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(UsageError, _refused)
    app.add_exception_handler(SessionInUse, _refused)
    app.add_exception_handler(OutputError, _unavailable)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, SessionInUse):
        error = Refused(409, str(error))
    elif not isinstance(error, Refused):  # of a command that does the work, and names its flag
        error = Refused(422, str(error).removeprefix("--"))
    # What is left of a body is not read: the connection cannot be used again.
    headers = {} if request.method in SAFE_METHODS else {"Connection": "close"}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.wait_s is not None:
        headers["Retry-After"] = str(max(math.ceil(error.wait_s), 1))
    return JSONResponse({"detail": error.detail}, error.status, headers)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first.get("loc", ()))
    detail = f"{place}: {first.get('msg', 'not valid')}; see /docs"
    return JSONResponse({"detail": printable(detail, _MAX_DETAIL)}, 422)


async def _unavailable(_: Request, error: Exception) -> JSONResponse:
    logger.error("%s", error)
    # The message names paths and hosts, which are no business of a visitor.
    detail = "the receiver cannot reach its disk or database at the moment: try again later"
    return JSONResponse({"detail": detail}, 503, {"Retry-After": "10"})
