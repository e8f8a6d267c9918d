"""What every request passes through: which host it names, where it comes from, how many there are of one address,
headers of the answer, and its count.

A page of another site can make a browser send requests here. It cannot read the answers, but a WebSocket would be open
to it, and by changing its own DNS entry to this address it becomes the same site (DNS rebinding). So a request must
name a host that this server can have, and one that a page sends must come from a page of this server.
"""

import ipaddress
import logging
import time
from asyncio import sleep
from collections import Counter
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose, WebSocketDisconnect

from common.clock import SYSTEM_CLOCK
from common.connections import TokenBucket
from common.io.addresses import Address, address_key
from receiver.web.metrics import WebMetrics

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
        if self._loopback and not _names_loopback(headers.get("host", "")):
            return "this page is for its own machine only: open it as http://127.0.0.1 with its port"
        if not self._loopback and self._hosts is not None and not _is_named(headers.get("host", ""), self._hosts):
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


def _is_named(host: str, names: Collection[str]) -> bool:
    """Whether `Host` is an address, which no other site's DNS entry can be, or one of the names."""
    try:
        name = Address.parse(host, Address("", 80)).host.lower()
    except ValueError:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name.removesuffix(".") in names
    return True


def _names_loopback(host: str) -> bool:
    try:
        return Address.parse(host, Address("", 80)).is_loopback
    except ValueError:
        return False
