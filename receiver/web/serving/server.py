"""The web server in the receiver's process and event loop."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from common.clock import SYSTEM_CLOCK
from common.connections import BeginRate, BoundedListener
from common.io.addresses import Address, unmapped
from receiver.descriptors import MOST_OF_PAGE
from receiver.link.config import SecurityConfig
from receiver.reachability import reached_as
from receiver.web.config import WebConfig
from receiver.web.serving.connections import HEAD_S, Connections, Http, WebSocket
from receiver.web.serving.port import BACKLOG, page_socket

logger = logging.getLogger(__name__)

# The largest message: a picture of a browser's camera.
_MAX_MESSAGE_BYTES = 512 * 1024
_CLOSE_TIMEOUT_S = 2
# Of one address: a browser opens six at a time, and more for a page that it shows again.
_CONNECTIONS_PER_S, _CONNECTIONS_AT_ONCE = 50, 256


class WebServer:
    """Serves an application; takes the address on construction, if not before. Raises OutputError if it cannot be used.

    Args:
        connections: at a time, half of them of one address that is no trusted proxy.
        kept_free_from: see `BoundedListener`.
        bound: the listening socket, which it takes over.
    """

    def __init__(
        self,
        config: WebConfig,
        security: SecurityConfig,
        connections: int = MOST_OF_PAGE,
        kept_free_from: int | None = None,
        bound: socket.socket | None = None,
    ) -> None:
        self._security, self._proxy = security, config.trusted_proxy
        self._protocols = set[Any]()
        self._connections = Connections(self._protocols)
        self._socket = BoundedListener(
            bound or page_socket(config),
            "page",
            connections,
            is_shared=config.is_proxy,
            takes=BeginRate(_CONNECTIONS_PER_S, _CONNECTIONS_AT_ONCE, SYSTEM_CLOCK).take,
            waiting=self._connections.waiting,
            kept_free_from=kept_free_from,
        )
        host, port = config.address.host, int(self._socket.getsockname()[1])
        self.address, self.token = Address(host, port), config.new_token()
        self._server: _Server | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def encrypted(self) -> bool:
        """Whether the page is served over TLS; on the loopback nothing is encrypted, and browsers trust it as it is."""
        return self._security.tls_cert is not None and not self.address.is_loopback

    @property
    def url(self) -> str:
        """The page's address for a browser, with its token."""
        token = f"?token={self.token}" if self.token else ""
        address = self.address
        if not address.is_loopback:
            address = replace(address, host=reached_as(address.host, self._security.tls_cert)[0])
        return f"{'https' if self.encrypted else 'http'}://{address}/{token}"

    def start(self, app: ASGIApp) -> None:
        """Begins to serve, in the running event loop."""
        config = uvicorn.Config(
            app if self._proxy is None else _behind_proxies(app, self._proxy),
            http=Http,
            ws=WebSocket,
            ws_max_size=_MAX_MESSAGE_BYTES,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=int(HEAD_S),
            timeout_graceful_shutdown=_CLOSE_TIMEOUT_S,
            ssl_certfile=self._security.tls_cert if self.encrypted else None,
            ssl_keyfile=self._security.tls_key if self.encrypted else None,
        )
        # What clients do wrong is no matter for the log; failures of the application are logged by `LastResort`.
        for name in ("uvicorn.error", "python_multipart"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._server = _Server(config)
        self._server.server_state.connections = self._protocols
        self._tasks = [
            asyncio.create_task(self._server.serve([self._socket]), name="web server"),
            asyncio.create_task(self._connections.watch(self._socket), name="web connections"),
        ]

    async def stop(self) -> None:
        """Ends all connections and frees the port."""
        if self._server is not None:
            self._server.should_exit = True
            serving, watching = self._tasks
            await asyncio.gather(serving, return_exceptions=True)
            watching.cancel()
        self._socket.close()


class _Server(uvicorn.Server):
    """Leaves signals to the receiver."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _behind_proxies(app: ASGIApp, proxies: str) -> ASGIApp:
    """The application with the addresses and schemes that trusted proxies tell.

    A proxy that reaches an IPv6 socket over IPv4 is known by the address that `--trusted-proxy` has.
    """
    behind_proxies = ProxyHeadersMiddleware(app, proxies)  # type: ignore[arg-type]

    async def unmapped_first(scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if client:
            scope = {**scope, "client": (unmapped(client[0]), client[1])}
        await behind_proxies(scope, receive, send)  # type: ignore[arg-type]

    return unmapped_first
