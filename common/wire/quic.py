"""Messages over QUIC (RFC 9000): what may be lost in datagrams (RFC 9221), everything else on one stream, in order.

An item on the stream is a variable-length integer, its length times four plus its kind, and its content.
"""

import asyncio
import itertools
import re
from collections import deque
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any

from aioquic import tls
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.buffer import encode_uint_var
from aioquic.quic.events import (
    ConnectionTerminated,
    DatagramFrameReceived,
    HandshakeCompleted,
    QuicEvent,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)
from aioquic.quic.packet import QuicErrorCode
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from common.wire.certificates import CERTIFICATE_NOT_TRUSTED, CERTIFICATE_REQUIRED
from common.wire.convert import MAX_PARSED_BYTES
from common.wire.quic_connection import Buffer, LinkConnection
from common.wire.stream import StreamBroken
from common.wire.traffic import CarryingConnection

MAX_DATAGRAM_BYTES = 1100
_STREAM = 0
# Of a peer that sends faster than it is read, and of one that does not acknowledge.
_MAX_DATAGRAMS_IN, _MAX_ITEMS_IN, _MAX_BYTES_IN, _MAX_BYTES_OUT = 256, 4096, 8_388_608, 4_194_304
# Before this end has sent anything: a token and a Hello, and room for what others may put in their place.
_MAX_FIRST_ITEMS = 4
_MAX_HEAD_BYTES = 8
# TLS alerts are reported as errors from 0x100 on (RFC 9001, section 4.8).
_TLS_ALERTS = range(0x100, 0x200)
_BAD_CERTIFICATE = 0x100 + 42
_CODE = re.compile("[A-Z_]{1,32}")
# Of UDP and IPv4 or IPv6.
_HEADER_BYTES, _HEADER_V6_BYTES = 28, 48
# What ends a handshake waits for the first message, or the answer to it, to leave in one packet.
_GATHER_S = 0.01
# The kernel numbers sockets from 1 on.
_NUMBERS = itertools.count(-1, -1)


class Item(IntEnum):
    """What is on the stream."""

    MESSAGE = 0
    STATUS = 1  # the last item: gRPC's name of a status, a space, and the reason
    TOKEN = 2  # only as the first item, from a sender that has a token


class _CountedTransport(asyncio.BaseTransport):
    """Sends the packets of one connection."""

    def __init__(self, transport: asyncio.DatagramTransport, connection: "QuicConnectionOfMessages") -> None:
        super().__init__()
        self._transport, self._connection = transport, connection

    def sendto(self, data: bytes, addr: Any) -> None:
        self._connection.ip_sent_bytes += self._connection.carried(data, addr)
        self._transport.sendto(data, addr)


class QuicConnectionOfMessages(QuicConnectionProtocol):
    """One connection: its messages until the transport reads them, and how it ended.

    Attributes:
        token: that the peer has sent; empty if none.
        number: see `common.wire.traffic.CarryingConnection`.
        ip_bytes, ip_sent_bytes: see there.
    """

    def __init__(self, connection: LinkConnection) -> None:
        super().__init__(connection)
        self._link = connection
        self.token = ""
        self.number, self.ip_bytes, self.ip_sent_bytes = next(_NUMBERS), 0, 0
        self._received = bytearray()
        self._messages: deque[bytes] = deque()
        self._datagrams: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._items = 0
        self._has_sent = self._has_stream = False
        self._changed = asyncio.Event()
        self._handshaken = self._gathers = False
        self._finished = False
        self._broken: StreamBroken | None = None

    @property
    def broken(self) -> StreamBroken | None:
        """Why the connection has ended; None while it has not."""
        return self._broken

    @property
    def peer(self) -> tuple[str, int]:
        """Address and port of the other end."""
        address: Any = self._link.get_peer_address()
        host, port = address[:2]
        return str(host), int(port)

    @property
    def certificate(self) -> Any:
        """The peer's certificate, whose key it has proved to have; None without one."""
        return self._link.certificate

    def verify_certificate(self, authority: bytes) -> None:
        """Checks a sender's certificate: dates, chain and purpose.

        Args:
            authority: the certificates that may have signed it, PEM.

        Raises:
            StreamBroken: it is missing or not trusted.
        """
        if self.certificate is None:
            raise StreamBroken("UNAUTHENTICATED", CERTIFICATE_REQUIRED)
        try:
            tls.verify_certificate(self.certificate, self._link.certificate_chain, cadata=authority)
            purposes = self.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            trusted = ExtendedKeyUsageOID.CLIENT_AUTH in purposes
        except x509.ExtensionNotFound:
            trusted = True
        except (tls.Alert, ValueError):
            trusted = False
        if not trusted:
            raise StreamBroken("UNAUTHENTICATED", CERTIFICATE_NOT_TRUSTED)

    async def handshaken(self) -> None:
        """Waits for the end of the handshake. Raises StreamBroken if it fails."""
        while not self._handshaken:
            await self._change()

    def connection_made(self, transport: Any) -> None:
        super().connection_made(_CountedTransport(transport, self))

    def carried(self, data: bytes | str, addr: Any) -> int:
        """Counts a packet, sent or received, and returns its bytes; addresses of IPv6 have four parts."""
        size = len(data) + (_HEADER_BYTES if len(addr) == 2 else _HEADER_V6_BYTES)
        self.ip_bytes += size
        return size

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        """Handles a packet."""
        super().datagram_received(data, addr)
        # A packet of another address may belong to another connection.
        if self._link.get_peer_address() == addr:
            self.carried(data, addr)

    def quic_event_received(self, event: QuicEvent) -> None:
        match event:
            case DatagramFrameReceived():
                # Nothing that may be lost comes before Welcome, nor is longer.
                if self._has_sent and len(event.data) <= MAX_DATAGRAM_BYTES:
                    self._datagrams.append(event.data)
                while len(self._datagrams) > _MAX_DATAGRAMS_IN:
                    self._datagrams.popleft()
            case StreamDataReceived(stream_id=stream) if stream == _STREAM:
                self._has_stream = True
                self._received += event.data
                self._take_items()
                self._finished = self._finished or event.end_stream
            case StreamDataReceived() | StreamReset() | StopSendingReceived():
                self.fail(StreamBroken("INVALID_ARGUMENT", "a connection has one stream, which is not reset"))
            case HandshakeCompleted():
                self._handshaken = self._gathers = True
            case ConnectionTerminated():
                code = "UNAUTHENTICATED" if event.error_code in _TLS_ALERTS else "UNAVAILABLE"
                self._end(StreamBroken(code, event.reason_phrase or "the connection has ended"))
        self._changed.set()

    def transmit(self) -> None:
        """Sends what is to be sent."""
        if self._gathers:
            self._gathers = False
            self._loop.call_later(_GATHER_S, self.transmit)
        else:
            super().transmit()

    def error_received(self, exc: Exception) -> None:
        """The machine of the peer has no such port."""
        if isinstance(exc, ConnectionRefusedError):
            self._end(StreamBroken("UNAVAILABLE", "Connection refused"))

    def finish(self, status: StreamBroken | None) -> None:
        """Ends the stream: with a status, or in good order; without a stream, the connection."""
        if not self._has_stream:
            self.fail(status or StreamBroken("CANCELLED", "the connection has no stream"))
        elif self._broken is None and status is not None:
            self.send(Item.STATUS, f"{status.code} {status.reason}".encode(), last=True)
        elif self._broken is None:
            self._link.send_stream_data(_STREAM, b"", end_stream=True)
            self.transmit()

    def fail(self, reason: StreamBroken) -> None:
        """Ends the connection at once; `read` and `write` raise the reason."""
        self._end(reason)
        refused = reason.code == "UNAUTHENTICATED"
        self.close(_BAD_CERTIFICATE if refused else QuicErrorCode.NO_ERROR, reason.reason)

    def _end(self, reason: StreamBroken) -> None:
        self._broken = self._broken or reason
        self._changed.set()

    def _take_items(self) -> None:
        while self._broken is None and (head := _head(self._received)) is not None:
            size, length, kind = head
            if length > MAX_PARSED_BYTES:
                return self.fail(StreamBroken("INVALID_ARGUMENT", f"a message of {length} bytes"))
            if len(self._received) < size + length:
                return None
            content = bytes(self._received[size : size + length])
            del self._received[: size + length]
            self._take(kind, content)
        return None

    def _take(self, kind: int, content: bytes) -> None:
        self._items += 1
        if not self._has_sent and self._items > _MAX_FIRST_ITEMS:
            self.fail(StreamBroken("INVALID_ARGUMENT", "more than a token and a Hello before the answer"))
        elif kind == Item.MESSAGE:
            self._messages.append(content)
            self._waiting_bytes += len(content)
            if self._waiting_bytes > _MAX_BYTES_IN or len(self._messages) > _MAX_ITEMS_IN:
                self.fail(StreamBroken("RESOURCE_EXHAUSTED", "messages arrive faster than they are read"))
        elif kind == Item.STATUS:
            code, _, reason = content.decode("utf-8", "replace").partition(" ")
            self._end(StreamBroken(code if _CODE.fullmatch(code) else "UNKNOWN", reason))
        elif kind == Item.TOKEN and self._items == 1:
            self.token = content.decode("ascii", "replace")
        else:
            self.fail(StreamBroken("INVALID_ARGUMENT", "an unknown item on the stream"))

    async def take(self) -> bytes | None:
        """The next message; None when the peer has finished in good order. Raises StreamBroken."""
        while True:
            if self._messages:
                self._waiting_bytes -= len(self._messages[0])
                return self._messages.popleft()
            if self._datagrams:
                return self._datagrams.popleft()
            if self._finished and self._broken is None:
                return None
            await self._change()

    async def _change(self) -> None:
        if self._broken is not None:
            raise self._broken
        self._changed.clear()
        await self._changed.wait()

    def send(self, kind: Item, content: bytes, *, droppable: bool = False, last: bool = False) -> None:
        """Sends an item, in a datagram if it may be lost and fits one. Raises StreamBroken."""
        if self._broken is not None:
            raise self._broken
        self._has_sent = True
        if droppable and len(content) <= MAX_DATAGRAM_BYTES:
            self._link.send_datagram_frame(content)
        else:
            self._has_stream = True
            self._link.send_stream_data(_STREAM, encode_uint_var(len(content) << 2 | kind) + content, last)
        self.transmit()
        if self._link.backlog_bytes(_STREAM) > _MAX_BYTES_OUT:
            self.fail(StreamBroken("DEADLINE_EXCEEDED", "the peer does not read"))


def _head(data: bytearray) -> tuple[int, int, int] | None:
    """Size of the first item's head, length of its content, and its kind; None until the head has arrived."""
    if not data or len(data) < 1 << (data[0] >> 6):
        return None
    buffer = Buffer(data=bytes(data[:_MAX_HEAD_BYTES]))
    head = buffer.pull_uint_var()
    return buffer.tell(), head >> 2, head & 3


class QuicStream:
    """A `MessageStream` that may lose and reorder what is written as droppable.

    Args:
        on_close: called once when this end closes it.
    """

    lossy = True

    def __init__(self, connection: QuicConnectionOfMessages, on_close: Callable[[], None] = lambda: None) -> None:
        self._connection = connection
        self._on_close = on_close

    async def read(self) -> bytes | None:
        """See `MessageStream.read`."""
        return await self._connection.take()

    async def write(self, data: bytes, *, droppable: bool = False) -> None:
        """See `MessageStream.write`."""
        self._connection.send(Item.MESSAGE, data, droppable=droppable)

    def connections(self) -> Sequence[CarryingConnection]:
        """See `MessageStream.connections`."""
        return (self._connection,)

    async def close(self) -> None:
        """Ends the stream and its connection in any state."""
        self._connection.fail(StreamBroken("CANCELLED", "closed"))
        self._on_close()
