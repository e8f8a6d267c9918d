"""The web server in the receiver's process and event loop."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from common.errors import OutputError
from common.io.addresses import Address, bound_socket
from receiver.link.config import SecurityConfig
from receiver.web.config import DEFAULT_ADDRESS, WebConfig

logger = logging.getLogger(__name__)

# The largest message: a picture of a browser's camera.
_MAX_MESSAGE_BYTES = 512 * 1024
_KEEP_ALIVE_S, _CLOSE_TIMEOUT_S = 15, 2
_BACKLOG = 128


class WebServer:
    """Serves an application; takes the address on construction. Raises OutputError if it cannot be used."""

    def __init__(self, config: WebConfig, security: SecurityConfig) -> None:
        self._security = security
        self._socket = _bind(config)
        host, port = config.address.host, int(self._socket.getsockname()[1])
        self.address = Address(host, port)
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def encrypted(self) -> bool:
        """Whether the page is served over TLS."""
        return self._security.tls_cert is not None

    @property
    def url(self) -> str:
        """The page's address for a browser."""
        return f"{'https' if self.encrypted else 'http'}://{self.address}/"

    def start(self, app: ASGIApp) -> None:
        """Begins to serve, in the running event loop."""
        certificate, key = self._security.tls_cert, self._security.tls_key
        config = uvicorn.Config(
            app,
            http=DeadlineProtocol,
            ws="websockets-sansio",
            ws_max_size=_MAX_MESSAGE_BYTES,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_CLOSE_TIMEOUT_S,
            ssl_certfile=certificate,
            ssl_keyfile=key,
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


HEAD_TIMEOUT_S = 10.0
"""For the whole head of a request, from its first byte or the connection's begin on."""
MAX_CONNECTIONS = 256
"""More connections are closed at once: each holds a descriptor that senders may need."""


class DeadlineProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol with a deadline for heads and a limit of connections."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before or self.transport.get_protocol() is not self:
            self._head_arrived()
        elif self._waits_for_head() and self._deadline is None:
            self._expect_head()

    def _waits_for_head(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _expect_head(self) -> None:
        self._deadline = self.loop.call_later(HEAD_TIMEOUT_S, self._give_up)

    def _head_arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if self._waits_for_head() and not self.transport.is_closing():
            self.transport.close()
