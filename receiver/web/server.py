"""The page's server: its connections, which wait for their clients, and which of those have waited too long.

    accepted ─ TLS ─ head of a request ─ body ─→ answer ─→ read by the client
               └── the client: 10 s ──┘                    └ a least rate ──┘

The routes that read bodies limit their time (`receiver.web.guards`, `receiver.web.uploads`).
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from common.clock import SYSTEM_CLOCK
from common.connections import Accepted, BeginRate, BoundedListener, TokenBucket, acknowledged_bytes
from common.io.addresses import Address, unmapped
from receiver.config import SecurityConfig, WebConfig
from receiver.ports import BACKLOG, MOST_OF_PAGE, page_socket, reached_as
from receiver.web.guards import LEAST_BYTES_PER_S, PACE_S

HEAD_S = 10.0
"""Until the head of a request is complete, from the beginning of a connection or the last answer."""
_LOOK_EVERY_S = 1.0
# Of a request: browsers send twenty fields, cookies of 4 kB, and chunks of kilobytes.
_HEAD_BYTES, _HEAD_FIELDS = 16_384, 100
_SMALL_PIECES, _SMALL_PIECE_BYTES = 100, 64
# Of a WebSocket: a browser acknowledges each frame that it shows. Both ways, what is read at once, and what waits.
_FRAMES_PER_S = 300
_PIECE_BYTES, _MOST_UNREAD_BYTES = 4096, 4_000_000


class _Parser(h11.Connection):
    """h11 with limits on what costs more time than it has bytes: fields of a head, and chunks of a body."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, _HEAD_BYTES)
        self._pieces = self._piece_bytes = 0

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._pieces = self._piece_bytes = 0
            size = len(event.target) + sum(len(name) + len(value) for name, value in event.headers)
            if len(event.headers) > _HEAD_FIELDS or size > _HEAD_BYTES:
                raise h11.RemoteProtocolError("the head is too large", error_status_hint=431)
        elif isinstance(event, h11.Data):
            self._pieces, self._piece_bytes = self._pieces + 1, self._piece_bytes + len(event.data)
            if self._pieces > _SMALL_PIECES + self._piece_bytes / _SMALL_PIECE_BYTES:
                raise h11.RemoteProtocolError("the body comes in too small pieces")
        return event


class Http(H11Protocol):
    """uvicorn's HTTP/1.1, without a traceback in the log where a body turns out to be malformed after its answer."""

    waits_since_s = 0.0
    """When the connection began, or its last answer ended: of the event loop."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.conn = _Parser()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.waits_since_s = self.loop.time()

    def data_received(self, data: bytes) -> None:
        """Takes what has come in pieces: the parser checks the size of a head before it is complete."""
        for start in range(0, len(data), _HEAD_BYTES):
            if self.transport.is_closing() or self.transport.get_protocol() is not self:
                return
            super().data_received(data[start : start + _HEAD_BYTES])

    def on_response_complete(self) -> None:
        self.waits_since_s = self.loop.time()
        super().on_response_complete()

    @property
    def has_head(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def waits_for_client(self) -> bool:
        """Whether the client has to send, or to read."""
        return not self.has_head or self.cycle.more_body or self.flow.write_paused

    def send_400_response(self, msg: str) -> None:
        """Answers a malformed request, or only ends its connection when an answer has begun.

        The application that has the request's beginning sees it as disconnected: what it sends would raise.
        """
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:
            self.transport.close()


class WebSocket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, which reads so many frames a second, and no more of a client that does not read."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._rate = TokenBucket(_FRAMES_PER_S, SYSTEM_CLOCK)
        self._unread, self._frames = bytearray(), 0
        self._rest: asyncio.TimerHandle | None = None

    @property
    def has_head(self) -> bool:
        """Whether there was a request."""
        return self.handshake_initiated

    @property
    def waits_for_client(self) -> bool:
        """Whether the client has to read."""
        return not self.writable.is_set()

    def data_received(self, data: bytes) -> None:
        self._unread += data
        self._read()
        if not self.handshake_initiated:
            # The first data are the whole head of a request, of which uvicorn does not say that it cannot be used.
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            self.transport.close()

    def handle_events(self) -> None:
        self._frames += len(self.conn.events)
        super().handle_events()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._read_on()

    def _read(self) -> None:
        """Reads what has come in pieces: thousands of empty frames fit into what the system gives at once."""
        while self._unread and not self.transport.is_closing():
            if self._rest is not None or self.transport.get_write_buffer_size() > _MOST_UNREAD_BYTES:
                self.transport.pause_reading()
                return
            piece, self._unread = bytes(self._unread[:_PIECE_BYTES]), self._unread[_PIECE_BYTES:]
            super().data_received(piece)
            wait_s, self._frames = self._rate.take(self._frames), 0
            if wait_s:
                self._rest = self.loop.call_later(wait_s, self._rested)

    def _rested(self) -> None:
        self._rest = None
        self._read_on()

    def _read_on(self) -> None:
        self._read()
        if not (self._unread or self.read_paused):
            self.transport.resume_reading()


class Connections:
    """Looks after the connections of a server (`protocols`: those that uvicorn has)."""

    def __init__(self, protocols: Collection[Any]) -> None:
        self._protocols = protocols
        # When, and how many bytes a client had acknowledged then.
        self._readings: dict[Any, tuple[float, int]] = {}

    def waiting(self, connections: Collection[Accepted]) -> Iterable[Collection[Accepted]]:
        """See `BoundedListener`: those without the head of a request, then those that have to send or read the rest."""
        found = self._by_remote()
        yield [each for each in connections if each.remote not in found or not found[each.remote].has_head]
        yield [each for each in connections if each.remote in found and found[each.remote].waits_for_client]

    async def watch(self, listener: BoundedListener) -> None:
        """Ends those that wait for too long, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            self.end_late(listener, loop.time())

    def end_late(self, listener: BoundedListener, now_s: float) -> None:
        """Ends those without the head of a request in time, and those whose clients read too slowly."""
        found = self._by_remote()
        shaking_hands = {each for each in listener.connections if each.remote not in found}
        listener.end({each for each in shaking_hands if each.accepted_s <= now_s - HEAD_S})
        for protocol in found.values():
            if protocol.transport.get_write_buffer_size():
                protocol.waits_since_s = now_s
                late = self._reads_slowly(protocol, now_s)
            else:
                self._readings.pop(protocol, None)
                late = not protocol.has_head and protocol.waits_since_s <= now_s - HEAD_S
            if late:
                protocol.transport.abort()
        self._readings = {each: reading for each, reading in self._readings.items() if each in self._protocols}

    def _reads_slowly(self, protocol: Any, now_s: float) -> bool:
        read = acknowledged_bytes(protocol.transport.get_extra_info("socket"))
        if read is None:
            return False
        since_s, read_then = self._readings.setdefault(protocol, (now_s, read))
        if now_s - since_s < PACE_S:
            return False
        self._readings[protocol] = now_s, read
        return read - read_then < LEAST_BYTES_PER_S * PACE_S

    def _by_remote(self) -> Mapping[tuple[str, int], Any]:
        return {protocol.client: protocol for protocol in self._protocols if protocol.client}


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
