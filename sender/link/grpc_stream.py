"""The gRPC client end of a `MessageStream`, and a look at what else may be answering at an address."""

import asyncio
import logging
from typing import Any, Self

import grpc

from common.addresses import Address
from common.wire.convert import STREAM_METHOD, STREAM_SERVICE
from common.wire.stream import CHANNEL_OPTIONS, StreamBroken

_log = logging.getLogger(__name__)

_OPTIONS = (
    *CHANNEL_OPTIONS,
    # Every attempt shall really try: our own backoff decides when, not the one that channels of a process share.
    ("grpc.use_local_subchannel_pool", 1),
)
_PROBE_S = 0.5
_BANNER_BYTES = 64


class GrpcClientStream:
    """One call of `SemanticLink.Stream` on a channel of its own."""

    def __init__(self, channel: Any, call: Any) -> None:
        self._channel = channel
        self._call = call
        self._writing = asyncio.Lock()

    @classmethod
    async def open(cls, peer: Address) -> Self:
        """Begins to connect; a peer that cannot be reached shows when reading or writing."""
        channel = grpc.aio.insecure_channel(str(peer), options=_OPTIONS)
        # Without (de)serialisers messages stay bytes: `common.wire.convert` judges what arrives.
        return cls(channel, channel.stream_stream(f"/{STREAM_SERVICE}/{STREAM_METHOD}")())

    async def read(self) -> bytes | None:
        """See `MessageStream.read`."""
        try:
            data = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise _broken(error) from error
        return None if data is grpc.aio.EOF else bytes(data)

    async def write(self, data: bytes) -> None:
        """See `MessageStream.write`."""
        async with self._writing:
            try:
                await self._call.write(data)
            except grpc.aio.AioRpcError as error:
                raise _broken(error) from error
            except asyncio.InvalidStateError as error:
                raise StreamBroken("CANCELLED", "the stream has ended") from error

    async def close(self) -> None:
        """Ends the call, whatever state it is in, and closes its connection."""
        self._call.cancel()
        await self._channel.close()


async def probe(peer: Address) -> str | None:
    """What answers at an address that does not speak gRPC.

    Returns:
        None if there is no TCP connection to be had; else the first line it says, empty if it says nothing.
    """
    try:
        async with asyncio.timeout(_PROBE_S):
            reader, writer = await asyncio.open_connection(peer.host, peer.port)
    except (OSError, TimeoutError):
        return None
    try:
        async with asyncio.timeout(_PROBE_S):
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            return _printable(await reader.read(_BANNER_BYTES))
    except (OSError, TimeoutError):
        return ""
    finally:
        writer.close()


def _printable(banner: bytes) -> str:
    text = banner.decode("ascii", errors="replace").splitlines()
    return "".join(character for character in text[0] if character.isprintable()) if text else ""


def _broken(error: Any) -> StreamBroken:
    code, details = error.code().name, error.details() or "no reason given"
    reason = details.splitlines()[0]
    if code == "UNAVAILABLE":
        # gRPC tells the whole story of resolving and connecting; its end is what went wrong.
        reason = reason.rsplit(": ", 1)[-1].strip("[]")
    return StreamBroken(code, reason)
