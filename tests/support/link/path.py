"""The link of all tests: an event loop in simulated time, and one path for messages of streams and UDP packets."""

import asyncio
import itertools
import math
import selectors
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

from common.io.addresses import Address
from common.wire.convert import ClientMessages, ServerMessages
from common.wire.stream import StreamBroken
from common.wire.traffic import CarryingConnection, wire_bytes
from tests.netlab.pipe import Pipe, Shape

LOST = math.inf
HEADER_BYTES = 28
"""Of IPv4 and UDP."""
_RETRANSMISSION_S = 0.2
# Timers of one time would not keep their order.
_APART_S = 1e-6
_THREAD_POLL_S, _DEADLOCK_S = 0.005, 20.0

Loses = Callable[[int, bool], bool]
"""Whether a UDP packet is lost: its number, from 0, and whether it goes to the receiver."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Instead of waiting for the next timer, it is that time. Threads of its executor work in no time.

    Attributes:
        now_s: since it began.
        path: of its streams and UDP sockets.
    """

    def __init__(self) -> None:
        super().__init__(_Selector(self))
        self.now_s, self.threads = 0.0, 0
        self.path = Path(self)

    def time(self) -> float:
        """See `asyncio.loop`."""
        return self.now_s

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """See `asyncio.loop`."""
        future = super().run_in_executor(executor, func, *args)
        self.threads += 1
        future.add_done_callback(self._joined)
        return future

    def _joined(self, _: object) -> None:
        self.threads -= 1

    async def create_datagram_endpoint(self, factory: Any, *, remote_addr: Any = None, sock: Any = None) -> Any:  # type: ignore[override]
        """See `asyncio.loop`: a sender's socket has a remote address, a receiver's is bound."""
        port = self.path.bind(factory(), remote_addr, sock)
        port.protocol.connection_made(port)
        return port, port.protocol


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        """See `selectors.BaseSelector.select`."""
        if timeout is None:
            found = super().select(_DEADLOCK_S)
            assert found, "everything waits for something else"
            return found
        found = super().select(_THREAD_POLL_S if self._loop.threads and timeout else 0)
        if not found and not self._loop.threads:
            self._loop.now_s += timeout
        return found


class End:
    """One end of a stream over a path (a `MessageStream`); what is written to it is read at `other`.

    Attributes:
        from_client, from_server: what a test's script decodes or encodes at this end.
        certificate: that the receiver has made for itself; at the sender's end.
    """

    other: Self
    certificate: bytes | None = None

    def __init__(self, path: "Path", *, forward: bool, lossy: bool) -> None:
        self.forward, self.lossy = forward, lossy
        self.from_client, self.from_server = ClientMessages(), ServerMessages()
        self.broken: StreamBroken | None = None
        self.stranded = False
        self.queued: list[Any] = []
        self.busy_until_s = 0.0
        self._path = path
        self._inbox: asyncio.Queue[bytes | StreamBroken | None] = asyncio.Queue()

    async def read(self) -> bytes | None:
        item = await self._inbox.get()
        if isinstance(item, StreamBroken):
            self._inbox.put_nowait(item)
            raise item
        return item

    async def write(self, data: bytes, *, droppable: bool = False) -> None:
        if self.broken is not None:
            raise self.broken
        self._path.carry(self, data, droppable=droppable)

    def connections(self) -> Sequence[CarryingConnection]:
        return ()

    async def own_certificate(self) -> bytes | None:
        """As `GrpcClientStream` asks for it."""
        return self.certificate

    async def close(self) -> None:
        """Ends the stream as a cancelled gRPC call does."""
        self.break_off("CANCELLED", "closed")

    async def finish(self) -> None:
        """Ends the stream in good order."""
        self._path.carry(self, None)

    def break_off(self, code: str = "UNAVAILABLE", reason: str = "connection reset") -> None:
        """Ends the stream for both ends, as a network failure does; unread messages are lost."""
        for end in (self, self.other):
            end.broken = StreamBroken(code, reason)
            while not end._inbox.empty():
                end._inbox.get_nowait()
            end._inbox.put_nowait(end.broken)

    def deliver(self, item: Any) -> None:
        """Lets the other end read what was written here."""
        if self.other.broken is None:
            self.other._inbox.put_nowait(item)
            if isinstance(item, StreamBroken):
                self.other.broken = item


class Call:
    """What gRPC tells a receiver of a stream (`CallContext`)."""

    def __init__(self, path: "Path", end: End, token: str | None = None, *, encrypted: bool = False) -> None:
        self._path, self._end, self._token, self._encrypted = path, end, token, encrypted

    def peer(self) -> str:
        return f"ipv4:{self._path.host}:40000"

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        return (("authorization", f"Bearer {self._token}"),) if self._token else ()

    def auth_context(self) -> Mapping[str, Sequence[bytes]]:
        return {"transport_security_type": [b"ssl"]} if self._encrypted else {}

    async def abort(self, code: Any, reason: str) -> None:
        self._path.carry(self._end, StreamBroken(code.name, reason))


class Packet(NamedTuple):
    """A UDP packet; `arrives_s` is None if it is lost."""

    sent_s: float
    arrives_s: float | None
    forward: bool
    data: bytes
    origin: Any

    @property
    def ip_bytes(self) -> int:
        """With headers."""
        return len(self.data) + HEADER_BYTES


class _Port(asyncio.DatagramTransport):
    """A UDP socket."""

    def __init__(self, path: "Path", protocol: Any, address: Any, peer: Any) -> None:
        super().__init__({"sockname": address, "peername": peer})
        self.protocol, self.address, self.peer, self._path = protocol, address, peer, path

    def sendto(self, data: Any, addr: Any = None) -> None:
        """Gives a packet to the path."""
        self._path.send(bytes(data), self, addr or self.peer)

    def is_closing(self) -> bool:
        """Whether it is closed."""
        return self._path.ports.get(self.address) is not self

    def close(self) -> None:
        """Frees the address."""
        if not self.is_closing():
            del self._path.ports[self.address]


Serve = Callable[[End, Call], None]
"""Begins to serve a stream."""


class Path:
    """The network between senders and receivers.

    Attributes:
        delay_s: of each message and packet; with 0, messages are there at once.
        up: whether anything arrives; else what must not be lost waits.
        udp: whether anything arrives that QUIC sends.
        loses: which UDP packets are lost.
        datagrams: what becomes of the next droppable messages: `LOST`, or how many seconds later they arrive.
        pipes: shape of the direction to the receiver (True) and back, instead of the delay.
        servers: by address; `certificates` of those that have made their own.
        host: of the senders.
        packets: all UDP packets.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None, delay_s: float = 0.01) -> None:
        self._given = loop
        self.delay_s = delay_s
        self.up = self.udp = True
        self.loses: Loses = lambda number, forward: False
        self.datagrams: deque[float] = deque()
        self.pipes: dict[bool, Pipe] = {}
        self.servers: dict[Address, Serve] = {}
        self.certificates: dict[Address, bytes | None] = {}
        self.host = "192.0.2.7"
        self.ports: dict[Any, _Port] = {}
        self.packets: list[Packet] = []
        self._shaped_s = 0.0
        self._numbers = itertools.count(40_000)
        self._ends: list[End] = []

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return self._given or asyncio.get_running_loop()

    def shape(self, forward: Shape, reverse: Shape) -> None:
        """Gives each direction a capacity, a delay, losses and outages, whose times count from now on."""
        self.pipes, self._shaped_s = {True: Pipe(forward), False: Pipe(reverse)}, self._loop.time()

    def _offer(self, forward: bool, size: int, at_s: float) -> float | None:
        """When a packet arrives that is sent at a time; None if it is lost."""
        arrives_s = self.pipes[forward].offer(size, at_s - self._shaped_s)
        return None if arrives_s is None else arrives_s + self._shaped_s

    def stream(self, *, lossy: bool = False) -> tuple[End, End]:
        """The sender's end and the receiver's of a stream."""
        ends = End(self, forward=True, lossy=lossy), End(self, forward=False, lossy=lossy)
        ends[0].other, ends[1].other = ends[1], ends[0]
        self._ends = [end for end in self._ends if end.broken is None] + [*ends]
        return ends

    def connect(self, peer: Address, token: str | None = None, *, lossy: bool = False, encrypted: bool = False) -> End:
        """A stream to a server. Raises StreamBroken where none is."""
        if peer not in self.servers:
            raise StreamBroken("UNAVAILABLE", "Connection refused")
        client, server = self.stream(lossy=lossy)
        client.certificate = self.certificates.get(peer)
        self.servers[peer](server, Call(self, server, token, encrypted=encrypted))
        return client

    def carry(self, end: End, item: Any, *, droppable: bool = False) -> None:
        """Takes what an end has written to the other one, sooner or later, or never."""
        works = self.up and not end.stranded and (self.udp or not end.lossy)
        if droppable and end.lossy:
            late_s = self.datagrams.popleft() if self.datagrams else 0.0
            if works and late_s < LOST:
                self._loop.call_later(self.delay_s + late_s, end.deliver, item)
            return
        end.queued.append(item)
        if works:
            self._flush(end)

    def _flush(self, end: End) -> None:
        for item in end.queued:
            arrives_s = self._arrives_s(end, item)
            if arrives_s <= self._loop.time() and end.busy_until_s <= self._loop.time():
                end.deliver(item)
                continue
            end.busy_until_s = max(end.busy_until_s + _APART_S, arrives_s)
            self._loop.call_at(end.busy_until_s, end.deliver, item)
        end.queued.clear()

    def _arrives_s(self, end: End, item: Any) -> float:
        at_s = self._loop.time()
        if not self.pipes:
            return at_s + self.delay_s
        size = wire_bytes(len(item) if isinstance(item, bytes) else 0)
        while (arrives_s := self._offer(end.forward, size, at_s)) is None:
            at_s += _RETRANSMISSION_S
        return arrives_s

    def restore(self) -> None:
        """Lets everything through that has waited."""
        self.up = self.udp = True
        for end in self._ends:
            if not end.stranded:
                self._flush(end)

    def strand(self) -> None:
        """Delivers nothing any more; the streams stay half open for ever."""
        self.up = False
        for end in self._ends:
            end.stranded = True

    def cut(self) -> None:
        """Breaks all streams."""
        for end in self._ends:
            if end.broken is None:
                end.break_off()

    async def passes(self, condition: Callable[[], bool]) -> None:
        """Waits until a connection can be made."""
        while not condition():
            await asyncio.sleep(0.05)
        await asyncio.sleep(2 * self.delay_s)

    def bind(self, protocol: Any, peer: Any, sock: Any) -> _Port:
        """A UDP socket: of a sender if it has a peer."""
        address = (self.host, next(self._numbers)) if sock is None else sock.getsockname()
        self.ports[address] = port = _Port(self, protocol, address, peer)
        return port

    def move(self) -> None:
        """Gives the senders' sockets other ports, as a router that has forgotten theirs."""
        for port in [port for port in self.ports.values() if port.peer is not None]:
            port.close()
            port.address = (self.host, next(self._numbers))
            self.ports[port.address] = port

    def send(self, data: bytes, origin: _Port, target: Any) -> None:
        """Takes a packet to its target, or loses it."""
        forward, now_s = origin.peer is not None, self._loop.time()
        lost = self.loses(len(self.packets), forward) or not (self.up and self.udp)
        arrives_s: float | None = now_s + self.delay_s + len(self.packets) * _APART_S * 1e-3
        if self.pipes:
            arrives_s = self._offer(forward, len(data) + HEADER_BYTES, now_s)
        packet = Packet(now_s, None if lost else arrives_s, forward, data, origin.address)
        self.packets.append(packet)
        if packet.arrives_s is not None:
            self._loop.call_at(packet.arrives_s, self._arrive, data, origin, origin.address, target)

    def _arrive(self, data: bytes, origin: _Port, address: Any, target: Any) -> None:
        port = self.ports.get(target)
        if port is not None:
            port.protocol.datagram_received(data, address)
        elif origin.peer is not None and not origin.is_closing():
            origin.protocol.error_received(ConnectionRefusedError())


def stream_pair() -> tuple[End, End]:
    """The sender's end and the receiver's of a stream without delay."""
    return Path(delay_s=0.0).stream()
