"""Counts what the messages of a stream take."""

from collections.abc import Callable

from common.wire.stream import MessageStream

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
