"""What every request passes through: which host it names, where it comes from, and headers of the answer.

A page of another site can make a browser send requests here. It cannot read the answers, but a WebSocket would be open
to it, and by changing its own DNS entry to this address it becomes the same site (DNS rebinding). So a request must
name a host that this server can have, and one that a page sends must come from a page of this server.
"""

import logging

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose, WebSocketDisconnect

from common.clock import Clock
from common.io.addresses import Address
from receiver.web.origins import is_cross_origin

logger = logging.getLogger(__name__)

_POLICY_VIOLATION = 1008
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_ERRORS_LOGGED_EVERY_S = 10.0

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
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
}
_STRICT_TRANSPORT = "max-age=31536000"


class OriginGuard:
    """Refuses requests that name a foreign host, and those that a page of another site sends.

    Args:
        loopback: the server listens on the loopback: only names of the loopback are hosts of it.
    """

    def __init__(self, app: ASGIApp, *, loopback: bool) -> None:
        self._app = app
        self._loopback = loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] in ("http", "websocket") else None
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose(_POLICY_VIOLATION, refusal)(scope, receive, send)
        else:
            await JSONResponse({"detail": refusal}, 403)(scope, receive, send)

    def _refusal(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._loopback and not _names_loopback(host):
            return "this page is for its own machine only: open it as http://127.0.0.1 with its port"
        changes = scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS
        if changes and is_cross_origin(headers):
            return "the request comes from a page of another site"
        return None


def _names_loopback(host: str) -> bool:
    try:
        return Address.parse(host, Address("", 80)).is_loopback
    except ValueError:
        return False


class SecurityHeaders:
    """Adds headers that tell browsers what the page may do.

    Args:
        encrypted: the server speaks TLS, and browsers are to insist on it.
    """

    def __init__(self, app: ASGIApp, *, encrypted: bool) -> None:
        self._app = app
        self._headers = _SECURITY_HEADERS | ({"strict-transport-security": _STRICT_TRANSPORT} if encrypted else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                # Whatever belongs to an account must not lie in a shared cache; the page's own files say otherwise.
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers)


class LastResort:
    """Answers a request whose handler failed by a bug: status 500 without details, and the trace in the log.

    Args:
        clock: the same bug is logged once in a while.
    """

    def __init__(self, app: ASGIApp, *, clock: Clock) -> None:
        self._app = app
        self._clock = clock
        self._next_log_s = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = False

        async def noted(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except (WebSocketDisconnect, ClientDisconnect):
            logger.debug("a client has left before its answer")
        except Exception:
            if self._clock.monotonic() >= self._next_log_s:
                self._next_log_s = self._clock.monotonic() + _ERRORS_LOGGED_EVERY_S
                logger.exception("a request of the page failed: %s", scope.get("path", ""))
            if scope["type"] == "http" and not began:
                answer = {"detail": "the server failed at this request; its log says why"}
                await JSONResponse(answer, 500)(scope, receive, send)
