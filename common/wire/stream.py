"""Interface of a transport: whole messages in order, and an error when the stream breaks.

The transport is gRPC; the tests have a fake one.
"""

from collections.abc import Callable
from typing import Protocol

from common.errors import PeerError
from common.text import printable
from common.wire.convert import MAX_MESSAGE_BYTES, MAX_REASON_CHARACTERS

# Our own heartbeats detect a dead peer; HTTP/2 pings only keep middleboxes from dropping an idle connection.
# gRPC's bandwidth-delay probing would cost a thin link two pings a second each way; the flow-control window that it
# would find is set from the start.
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
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

    async def read(self) -> bytes | None:
        """The next message, or None when the peer has ended the stream in good order.

        Raises:
            StreamBroken: the stream ended otherwise.
        """

    async def write(self, data: bytes) -> None:
        """Gives a message to the transport; waits while its buffers are full.

        Raises:
            StreamBroken: the stream has ended.
        """


# Compression flag and length of a gRPC message.
MESSAGE_PREFIX_BYTES = 5


class CountedStream:
    """A stream whose messages are counted in both directions: labels, blobs, heartbeats, acknowledgements, reports.

    HTTP/2, TLS, TCP and IP are not counted: gRPC does not tell.

    Args:
        count: takes the bytes of each message that was read or written.
    """

    def __init__(self, stream: MessageStream, count: Callable[[int], None]) -> None:
        self._stream, self._count = stream, count

    async def read(self) -> bytes | None:
        """See `MessageStream.read`."""
        data = await self._stream.read()
        if data is not None:
            self._count(len(data) + MESSAGE_PREFIX_BYTES)
        return data

    async def write(self, data: bytes) -> None:
        """See `MessageStream.write`."""
        await self._stream.write(data)
        self._count(len(data) + MESSAGE_PREFIX_BYTES)
