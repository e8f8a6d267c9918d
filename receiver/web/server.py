"""The web server in the receiver's process and event loop."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from dataclasses import replace

import uvicorn
from h11 import LocalProtocolError
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.h11_impl import H11Protocol

from common.errors import OutputError
from common.io.addresses import Address, bound_socket, unmapped
from receiver.link.config import SecurityConfig
from receiver.reachability import reached_as
from receiver.web.config import DEFAULT_ADDRESS, WebConfig

logger = logging.getLogger(__name__)

# The largest message: a picture of a browser's camera.
_MAX_MESSAGE_BYTES = 512 * 1024
_KEEP_ALIVE_S, _CLOSE_TIMEOUT_S = 15, 2
_BACKLOG = 128
# Each holds a descriptor that senders may need; requests above are answered by 503.
_MAX_CONNECTIONS = 256


class WebServer:
    """Serves an application; takes the address on construction. Raises OutputError if it cannot be used."""

    def __init__(self, config: WebConfig, security: SecurityConfig) -> None:
        self._security, self._proxy = security, config.trusted_proxy
        self._socket = _bind(config)
        host, port = config.address.host, int(self._socket.getsockname()[1])
        self.address, self.token = Address(host, port), config.new_token()
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

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
            http=_Http,
            ws="websockets-sansio",
            ws_max_size=_MAX_MESSAGE_BYTES,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MAX_CONNECTIONS,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_CLOSE_TIMEOUT_S,
            ssl_certfile=self._security.tls_cert if self.encrypted else None,
            ssl_keyfile=self._security.tls_key if self.encrypted else None,
        )
        # What clients do wrong is no matter for the log; failures of the application are logged by `LastResort`.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve([self._socket]), name="web server")

    async def stop(self) -> None:
        """Ends all connections and frees the port."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await asyncio.gather(self._serving, return_exceptions=True)
        self._socket.close()


class _Server(uvicorn.Server):
    """Leaves signals to the receiver."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _bind(config: WebConfig) -> socket.socket:
    """The listening socket; the default port may be replaced by a free one."""
    wanted = [config.address] if config.http is not None else [config.address, Address(DEFAULT_ADDRESS.host, 0)]
    for address in wanted:
        try:
            listener = bound_socket(address)
            try:
                listener.listen(_BACKLOG)
                listener.setblocking(False)
            except BaseException:
                listener.close()
                raise
            return listener
        except OSError as error:
            failure = error
    raise OutputError(
        f"cannot serve the page on {config.address} ({failure.strerror}): give --http a free host:port, or --no-page"
    ) from failure


class _Http(H11Protocol):
    """uvicorn's HTTP/1.1, without a traceback in the log where a body turns out to be malformed after its answer."""

    def send_400_response(self, msg: str) -> None:
        """Answers a malformed request, or only ends its connection when an answer has begun.

        The application that has the request's beginning sees it as disconnected: what it sends would raise.
        """
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        try:
            super().send_400_response(msg)
        except LocalProtocolError:
            self.transport.close()


def _behind_proxies(app: ASGIApp, proxies: str) -> ASGIApp:
    """The application with the addresses and schemes that trusted proxies tell.

    A proxy that reaches an IPv6 socket over IPv4 is known by the address that `--trusted-proxy` has.
    """
    told = ProxyHeadersMiddleware(app, proxies)  # type: ignore[arg-type]

    async def unmapped_first(scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if client:
            scope = {**scope, "client": (unmapped(client[0]), client[1])}
        await told(scope, receive, send)  # type: ignore[arg-type]

    return unmapped_first
