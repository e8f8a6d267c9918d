"""The web server in the receiver's process and event loop."""

import asyncio
import contextlib
import logging
import math
import socket
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import uvicorn
from h11 import LocalProtocolError
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from common.errors import OutputError
from common.io.addresses import Address, bound_socket
from receiver.link.config import SecurityConfig
from receiver.status import reached_as
from receiver.web.accounts.throttle import address_key, unmapped
from receiver.web.config import DEFAULT_ADDRESS, WebConfig

logger = logging.getLogger(__name__)

# The largest message: a picture of a browser's camera.
_MAX_MESSAGE_BYTES = 512 * 1024
_KEEP_ALIVE_S, _CLOSE_TIMEOUT_S = 15, 2
_BACKLOG = 128


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
        """Whether the page is served over TLS."""
        return self._security.tls_cert is not None

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
        certificate, key = self._security.tls_cert, self._security.tls_key
        config = uvicorn.Config(
            app,
            http=DeadlineProtocol,
            ws=WebSocketProtocol,
            ws_max_size=_MAX_MESSAGE_BYTES,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=self._proxy is not None,
            forwarded_allow_ips=self._proxy,
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
                # What a client leaves unread in the kernel, below TLS and after a close too.
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(2e3 * WRITE_TIMEOUT_S))
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
WRITE_TIMEOUT_S, WRITE_BYTES = 20.0, 10_000
"""A client must take so much of what waits for it, or all, each time."""
MAX_CONNECTIONS, MAX_OF_ADDRESS = 256, 64
"""With more, the one that has let the server wait longest is closed: each holds a descriptor that senders may need."""


class _WriteDeadline(asyncio.Protocol):
    """Ends connections whose clients do not read, and knows clients by the address that `--trusted-proxy` has."""

    transport: asyncio.Transport
    client: tuple[str, int] | None
    _write_check: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self.client:
            self.client = unmapped(self.client[0]), self.client[1]
        # Paused as soon as anything waits: a closed connection lives until its client has taken that.
        self.transport.set_write_buffer_limits(high=1, low=0)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_check()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_progress()

    def resume_writing(self) -> None:
        self._stop_check()
        super().resume_writing()

    def _expect_progress(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        self._write_check = asyncio.get_running_loop().call_later(WRITE_TIMEOUT_S, self._check_progress, waiting)

    def _stop_check(self) -> None:
        if self._write_check is not None:
            self._write_check.cancel()
            self._write_check = None

    def _check_progress(self, before: int) -> None:
        waiting = self.transport.get_write_buffer_size()
        if waiting > 0 and waiting > before - WRITE_BYTES:
            self.transport.abort()
        elif waiting:
            self._expect_progress()


class WebSocketProtocol(_WriteDeadline, WebSocketsSansIOProtocol):
    """uvicorn's WebSockets, with a deadline for what their clients read."""

    heard_s = -math.inf

    def waits_for_client(self) -> bool:
        """Whether only its client's answer to the end is missing."""
        return self.close_sent

    def handle_ping(self) -> None:
        """Answers a ping, unless answers wait already: a client that only asks would fill the memory."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()


class DeadlineProtocol(_WriteDeadline, H11Protocol):
    """uvicorn's HTTP/1.1 protocol with deadlines for heads and for reading, and limits of connections."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._deadline: asyncio.TimerHandle | None = None
        self.heard_s = self.loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._expect_head()
        self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before, self.heard_s = self.cycle, self.loop.time()
        super().data_received(data)
        if self.cycle is not before or self.transport.get_protocol() is not self:
            self._head_arrived()
        elif self._waits_for_head() and self._deadline is None:
            self._expect_head()

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

    def _make_room(self) -> None:
        app, own = self.config.loaded_app, _address(self)
        mine = [each for each in self.connections if _address(each) == own]
        proxied = isinstance(app, ProxyHeadersMiddleware) and self.client and self.client[0] in app.trusted_hosts
        if len(mine) > MAX_OF_ADDRESS and not proxied:
            self._close_one(mine)
        elif len(self.connections) > MAX_CONNECTIONS:
            self._close_one(self.connections)

    def _close_one(self, connections: Iterable[Any]) -> None:
        """Closes the connection whose client has been silent longest, perhaps this one."""
        closed = min((each for each in connections if each.waits_for_client()), key=lambda each: each.heard_s)
        closed.transport.abort()
        self.connections.discard(closed)

    def waits_for_client(self) -> bool:
        """Whether its client should say something or read; no browser sends the next request before the answer."""
        unasked = bool(self.conn.trailing_data[0])
        return unasked or self._waits_for_head() or self.cycle.more_body or self.flow.write_paused

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


def _address(connection: Any) -> str:
    return address_key(connection.client[0] if connection.client else None)
