"""Errors of the web page as JSON: `{"detail": "one sentence that says what to do"}`."""

import logging
import math
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from common.errors import OutputError
from common.text import printable

logger = logging.getLogger(__name__)

_MAX_DETAIL = 300


class Problem(BaseModel):
    """What is wrong, and what to do."""

    detail: str


_MEANINGS = {
    400: "The request cannot be read.",
    401: "Not signed in, or the password or token is wrong.",
    403: "Not allowed; with a cookie, the CSRF token is missing or wrong.",
    404: "There is none, or it belongs to somebody else.",
    408: "The body came too slowly.",
    409: "It conflicts with what there is.",
    413: "The body is too large.",
    415: "It is not of an accepted type.",
    422: "The content is not acceptable.",
    429: "Too many; `Retry-After` says when to try again.",
    503: "Not available at the moment.",
}
_WITH_RETRY = (429, 503)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route, for the OpenAPI document."""
    return {status: _documented(status) for status in statuses}


def _documented(status: int) -> dict[str, Any]:
    described: dict[str, Any] = {"model": Problem, "description": _MEANINGS[status]}
    if status in _WITH_RETRY:
        described["headers"] = {"Retry-After": {"description": "seconds", "schema": {"type": "integer", "minimum": 1}}}
    return described


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> HTTPException:
    """An error to raise in a route."""
    return HTTPException(status, detail, dict(headers) if headers else None)


def retry_later(status: int, detail: str, wait_s: float = 1.0) -> HTTPException:
    """An error that says when to try again."""
    return problem(status, detail, {"Retry-After": str(max(math.ceil(wait_s), 1))})


def add_problem_handlers(app: FastAPI) -> None:
    """Makes requests that break the document's rules, and a full disk or a lost database, errors of this form."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(OutputError, _unavailable)


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
