"""The page's connections: which wait for their clients, and which of those have waited for too long.

    accepted ─ TLS ─ head of a request ─ body ─→ answer ─→ read by the client
               └── the client: 10 s ──┘                    └ a least rate ──┘

The routes that read bodies limit their time (`receiver.web.small_body`, `receiver.web.uploads.form`).
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from h11 import LocalProtocolError
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from common.connections.listener import Accepted, BoundedListener
from common.connections.tcp_info import acknowledged_bytes
from receiver.web.serving.pace import LEAST_BYTES_PER_S, PACE_S

HEAD_S = 10.0
"""Until the head of a request is complete, from the beginning of a connection or the last answer."""
_LOOK_EVERY_S = 1.0
# Of a WebSocket: some frames.
_MOST_UNREAD_BYTES = 4_000_000


class Http(H11Protocol):
    """uvicorn's HTTP/1.1, without a traceback in the log where a body turns out to be malformed after its answer."""

    waits_since_s = 0.0
    """When the connection began, or its last answer ended: of the event loop."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.waits_since_s = self.loop.time()

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
        except LocalProtocolError:
            self.transport.close()


class WebSocket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, which reads no more of a client that does not read: each of its pings is answered."""

    has_head = True

    @property
    def waits_for_client(self) -> bool:
        """Whether the client has to read."""
        return not self.writable.is_set()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.read_paused and self.transport.get_write_buffer_size() > _MOST_UNREAD_BYTES:
            self.read_paused = True
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            self.transport.resume_reading()


@dataclass(slots=True)
class _Reading:
    """What a client had acknowledged at a time."""

    since_s: float
    acknowledged_bytes: int


class Connections:
    """Looks after the connections of a server (`protocols`: those that uvicorn has)."""

    def __init__(self, protocols: Collection[Any]) -> None:
        self._protocols = protocols
        self._readings: dict[Any, _Reading] = {}

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
        last = self._readings.setdefault(protocol, _Reading(now_s, read))
        if now_s - last.since_s < PACE_S:
            return False
        self._readings[protocol] = _Reading(now_s, read)
        return read - last.acknowledged_bytes < LEAST_BYTES_PER_S * PACE_S

    def _by_remote(self) -> Mapping[tuple[str, int], Any]:
        return {protocol.client: protocol for protocol in self._protocols if protocol.client}
