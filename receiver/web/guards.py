"""What every request passes through: which host it names, where it comes from, how many there are of one address,
headers of the answer, and its count; how requests that fail are answered, and how slowly clients may send and read.

A page of another site can make a browser send requests here. It cannot read the answers, but a WebSocket would be open
to it, and by changing its own DNS entry to this address it becomes the same site (DNS rebinding). So a request must
name a host that this server can have, and one that a page sends must come from a page of this server.
"""

import asyncio
import logging
import math
import time
from asyncio import sleep
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Coroutine, Mapping
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose, WebSocketDisconnect

from common.clock import SYSTEM_CLOCK
from common.connections import TokenBucket
from common.errors import OutputError, UsageError
from common.io.addresses import Address, address_key
from common.text import printable
from receiver.publish.session_records import SessionInUse
from receiver.web.metrics import WebMetrics
from receiver.web.places import Refused

logger = logging.getLogger(__name__)

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
"""Methods of requests that change nothing."""
_HEAD = "bodywire.head"
_POLICY_VIOLATION = 1008
_ERRORS_LOGGED_EVERY_S = 10.0

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_SECURITY_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    # Whatever belongs to an account must not lie in a shared cache; the page's own files say otherwise.
    "cache-control": "no-store",
}
_STRICT_TRANSPORT = {"strict-transport-security": "max-age=31536000"}
MOST_OF_ADDRESS = 64
"""Requests and WebSockets of one client at a time: behind a proxy, connections do not tell clients apart."""
_WAIT_S = 5
_REQUESTS_PER_S = 100
"""Of one client; above, they wait: each takes a millisecond of the event loop, in which frames arrive, too. A page
that plays a recorded session asks for a mesh a frame."""
# With more clients at a time all begin anew: attackers with as many addresses must not fill the memory.
_CLIENTS = 1024


class Guard:
    """An application behind the checks of its requests.

    Requests that name a foreign host, or that a page of another site sends, are refused, as are too many of one client
    at a time; too many a second wait. HEAD is answered as GET, without the body.
    Answers get headers that tell browsers what the page may do, over TLS that they are to insist on it. A handler that
    fails by a bug is answered by 500 without details, and logged.

    Args:
        loopback: the server listens on the loopback: only names of the loopback are hosts of it.
        encrypted: it speaks TLS itself.
        hosts: names of the server, if others than this machine reach it without TLS; addresses always count.
        metrics: count each request when its answer has been sent, or its client has gone.
    """

    def __init__(
        self, app: ASGIApp, *, loopback: bool, encrypted: bool, metrics: WebMetrics, hosts: Collection[str] = ()
    ) -> None:
        self._app, self._loopback, self._metrics = app, loopback, metrics
        # Over TLS the certificate has the names; nobody else's page can be of one of them.
        self._hosts = None if encrypted else hosts
        self._in_progress = Counter[str]()
        self._rates: dict[str, TokenBucket] = {}
        self._next_log_s = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began_s, status = time.monotonic(), 0
        is_head = scope.get("method") == "HEAD"
        if is_head:
            scope = {**scope, "method": "GET", _HEAD: True}
        added = _SECURITY_HEADERS | (_STRICT_TRANSPORT if is_encrypted(HTTPConnection(scope)) else {})

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in added.items():
                    headers.setdefault(name, value)
            elif is_head:
                await send({"type": message["type"]})
                if message.get("more_body"):
                    # Nobody reads the rest, so that it need not be made.
                    raise ClientDisconnect
                return
            await send(message)

        client = scope.get("client")
        address = address_key(client and client[0])
        self._in_progress[address] += 1
        try:
            busy = self._in_progress[address] > MOST_OF_ADDRESS
            if not busy and (wait_s := self._rate_of(address).take(1)):
                await sleep(wait_s)
            await self._answer(scope, receive, guarded, busy=busy)
        except (WebSocketDisconnect, ClientDisconnect):
            logger.debug("a client has left before its answer")
        except Exception as error:
            if status and isinstance(error, FileNotFoundError):
                logger.debug("a file was deleted before it was sent")
            else:
                self._log_failure(scope)
            if scope["type"] == "http" and not status:
                answer = {"detail": "the server failed at this request; its log says why"}
                await JSONResponse(answer, 500)(scope, receive, guarded)
        finally:
            self._in_progress -= Counter([address])
            if scope["type"] == "http":
                # Routing has put the route there; its path is the template.
                route = getattr(scope.get("route"), "path", None)
                method = "HEAD" if is_head else scope["method"]
                self._metrics.request(method, route, status or 500, time.monotonic() - began_s)

    def _rate_of(self, address: str) -> TokenBucket:
        if len(self._rates) > _CLIENTS:
            self._rates.clear()
        return self._rates.setdefault(address, TokenBucket(_REQUESTS_PER_S, SYSTEM_CLOCK))

    async def _answer(self, scope: Scope, receive: Receive, send: Send, *, busy: bool) -> None:
        refusal = "too many requests at a time: try again later" if busy else self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose(_POLICY_VIOLATION, refusal)(scope, receive, send)
        else:
            status, headers = (429, {"retry-after": str(_WAIT_S), "connection": "close"}) if busy else (403, {})
            await JSONResponse({"detail": refusal}, status, headers)(scope, receive, send)

    def _refusal(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        try:
            host = Address.parse(headers.get("host", ""), Address("", 80))
        except ValueError:
            host = None
        if self._loopback and not (host and host.is_loopback):
            return "this page is for its own machine only: open it as http://127.0.0.1 with its port"
        # An address can be no other site's DNS entry.
        named = host and (host.is_ip or host.host.lower().removesuffix(".") in (self._hosts or ()))
        if not (self._loopback or self._hosts is None or named):
            return "this page does not have the name that the request has for it: its administrator gives --http-host"
        changes = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
        if changes and is_of_another_site(headers):
            return "the request comes from a page of another site"
        return None

    def _log_failure(self, scope: Scope) -> None:
        if time.monotonic() >= self._next_log_s:
            self._next_log_s = time.monotonic() + _ERRORS_LOGGED_EVERY_S
            logger.exception("a request of the page failed: %s", scope.get("path", ""))


def asks_for_head(request: HTTPConnection) -> bool:
    """Whether only the headers of an answer are sent, whose content need not be made."""
    return _HEAD in request.scope


def is_encrypted(connection: HTTPConnection) -> bool:
    """Whether the browser speaks TLS: with this server, or as a trusted proxy says with that."""
    return connection.scope.get("scheme") in ("https", "wss")


def is_of_another_site(headers: Headers) -> bool:
    """Whether a browser says that another site's page sends a request; False where nothing says so.

    That is where `Origin` names another host or port than `Host`, or none. Its scheme is left out: behind a proxy that
    ends TLS, a server does not know its own.
    """
    if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return True
    origin = headers.get("origin")
    if origin is None:
        return False
    try:
        sender = urlsplit(origin).netloc.lower()
    except ValueError:
        return True
    return not sender or sender != headers.get("host", "").lower()


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
