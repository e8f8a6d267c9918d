"""Interface of a transport: whole messages, and an error when the stream breaks.

The transports are gRPC and QUIC; the tests have a fake one.
"""

import ipaddress
from collections.abc import Sequence
from typing import Protocol

from common.errors import PeerError
from common.text import printable
from common.wire.convert import MAX_MESSAGE_BYTES, MAX_REASON_CHARACTERS
from common.wire.traffic import LABELS, CarryingConnection, Purposes, Traffic, face_bytes

# Our own heartbeats detect a dead peer; HTTP/2 pings only keep middleboxes from dropping an idle connection.
# gRPC's bandwidth-delay probing would cost a thin link two pings a second each way; the flow-control window that it
# would find is set from the start.  gRPC would go even to the loopback through an HTTP proxy of the environment.
NO_PROXY = ("grpc.enable_http_proxy", 0)
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    NO_PROXY,
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1_048_576),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


class StreamBroken(PeerError):
    """The stream ended before both sides closed it.

    Args:
        code: name of the gRPC status, such as UNAVAILABLE.
        reason: message of the transport or the peer; made printable.
    """

    def __init__(self, code: str, reason: str) -> None:
        reason = printable(reason, MAX_REASON_CHARACTERS)
        super().__init__(f"{reason} ({code})")
        self.code = code
        self.reason = reason


class MessageStream(Protocol):
    """One end of a bidirectional stream of messages. Reading and writing may overlap; so may several writes."""

    @property
    def lossy(self) -> bool:
        """Whether messages that are written as droppable may be lost or arrive in another order; others never are."""

    async def read(self) -> bytes | None:
        """The next message, or None when the peer has ended the stream in good order.

        Raises:
            StreamBroken: the stream ended otherwise.
        """

    async def write(self, data: bytes, *, droppable: bool = False) -> None:
        """Gives a message to the transport; waits while its buffers are full.

        Args:
            droppable: the message may be lost rather than be late; without effect unless `lossy`.

        Raises:
            StreamBroken: the stream has ended.
        """

    def connections(self) -> Sequence[CarryingConnection]:
        """The connections of this process that carry the stream, as far as the system tells."""


class CountedStream:
    """A stream whose messages are counted, in both directions, by what they are for.

    Args:
        sends: whether this end is the sender's.
    """

    def __init__(self, stream: MessageStream, traffic: Traffic, *, sends: bool) -> None:
        purposes = Purposes()
        self._stream, self._traffic = stream, traffic
        ends = purposes.from_sender, purposes.from_receiver
        self._written_for, self._read_for = ends if sends else ends[::-1]

    @property
    def lossy(self) -> bool:
        """See `MessageStream.lossy`."""
        return self._stream.lossy

    async def read(self) -> bytes | None:
        """See `MessageStream.read`."""
        data = await self._stream.read()
        if data is not None:
            self._count(self._read_for(data), data, sent=False)
        return data

    async def write(self, data: bytes, *, droppable: bool = False) -> None:
        """See `MessageStream.write`."""
        await self._stream.write(data, droppable=droppable)
        self._count(self._written_for(data), data, sent=True)

    def _count(self, purpose: str, data: bytes, *, sent: bool) -> None:
        faces = face_bytes(data) if purpose == LABELS else 0
        self._traffic.count(purpose, len(data), sent=sent, face_bytes=faces)

    def connections(self) -> Sequence[CarryingConnection]:
        """See `MessageStream.connections`."""
        return self._stream.connections()


def peer_name(host: str, port: int) -> str:
    """An address as gRPC writes it: `ipv4:10.0.0.7:40112`, `ipv6:[2001:db8::1]:40112`."""
    address = ipaddress.ip_address(host.partition("%")[0])
    return f"ipv4:{address}:{port}" if address.version == 4 else f"ipv6:[{address}]:{port}"
