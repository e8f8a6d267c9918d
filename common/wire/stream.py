"""What both ends of the link need of a transport: whole messages in order, and to hear when it broke.

The transport is gRPC; anything else that keeps this contract, such as the fake link of the tests, does as well.
"""

from typing import Protocol

from common.errors import PeerError
from common.wire.convert import MAX_MESSAGE_BYTES

# Our own heartbeats find a dead peer; HTTP/2 pings only keep middleboxes from forgetting an idle connection.
# gRPC's own measuring would cost a thin link two pings a second each way: the room that it would find is given at once.
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1_048_576),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


class StreamBroken(PeerError):
    """The stream ended before both sides said so.

    Args:
        code: name of the gRPC status, such as UNAVAILABLE.
        reason: what the transport or the peer said about it.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{reason} ({code})")
        self.code = code
        self.reason = reason


class MessageStream(Protocol):
    """One end of a bidirectional stream of messages. Reading and writing may overlap; so may several writes."""

    async def read(self) -> bytes | None:
        """The next message, or None when the peer has ended the stream well.

        Raises:
            StreamBroken: it ended otherwise.
        """

    async def write(self, data: bytes) -> None:
        """Hands a message to the transport; waits while that takes no more.

        Raises:
            StreamBroken: the stream has ended.
        """
