"""Opens gRPC streams as the security configuration demands."""

import asyncio
import errno
import os
from typing import Any

import grpc

from common.io.addresses import Address
from common.wire.convert import STREAM_METHOD, STREAM_SERVICE
from common.wire.stream import StreamBroken
from sender.link.transport.diagnosis import diagnose_clear, diagnose_encrypted
from sender.link.transport.grpc_stream import OPTIONS, GrpcClientStream
from sender.link.transport.reachability import Names
from sender.link.transport.security import CredentialFiles, SecurityConfig

# Of the connection and its TLS handshake, on a thin link too, once the peer has answered a probe.
_CONNECT_TIMEOUT_S = 10.0
# Of an address that answers.
_DIAGNOSIS_TIMEOUT_S = 0.5
_NETWORK_DOWN = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.ETIMEDOUT)


class Transport:
    """Opens streams to receivers; certificates and token are read again when they change.

    Attributes:
        files: certificates and token.
        names: of the receivers.

    Raises:
        UsageError: in every method: a certificate, key or token cannot be read.
    """

    def __init__(self, config: SecurityConfig | None = None) -> None:
        self.files = CredentialFiles(config or SecurityConfig())
        self.names = Names()

    def _open(self, peer: Address, at: Address) -> GrpcClientStream:
        """Starts to connect to a peer at an IP address; an unreachable one shows when reading or writing."""
        token = self.files.token(peer)
        channel = self._channel(peer, at)
        metadata = (("authorization", f"Bearer {token}"),) if token else None
        # Without (de)serialisers messages stay bytes: `common.wire.convert` checks what arrives.
        call = channel.stream_stream(f"/{STREAM_SERVICE}/{STREAM_METHOD}")(metadata=metadata)
        return GrpcClientStream(channel, call, peer.port)

    def _channel(self, peer: Address, at: Address) -> Any:
        credentials = self.files.credentials(peer)
        if credentials is None:
            return grpc.aio.insecure_channel(str(at), options=(*OPTIONS, ("grpc.default_authority", str(peer))))
        trusted = grpc.ssl_channel_credentials(credentials.authority, credentials.key, credentials.certificate)
        name = credentials.name or (peer.host if at != peer else None)
        named = (("grpc.ssl_target_name_override", name),) if name else ()
        return grpc.aio.secure_channel(str(at), trusted, options=(*OPTIONS, *named))

    async def reach(self, peer: Address) -> GrpcClientStream:
        """Opens a stream over an established connection, as soon as the peer's network is reachable.

        A connection whose SYN was lost retransmits it late and starts with a small window. So none is opened before
        the peer has answered a reachability probe.

        Raises:
            StreamBroken: the peer's machine refuses the connection, or its name is not known.
        """
        while True:
            at = await self.names.reachable(peer)
            stream = self._open(peer, at)
            if await _connects(stream):
                return stream

    async def diagnose(self, peer: Address) -> str | None:
        """Finds out why there is no stream to a peer that accepts connections.

        Returns:
            What is wrong and what to do; None if the peer accepts no TCP connection, or nothing is wrong.
        """
        credentials = self.files.credentials(peer)
        try:
            async with asyncio.timeout(_DIAGNOSIS_TIMEOUT_S):
                at = await self.names.reachable(peer)
        except (StreamBroken, TimeoutError):
            return None
        return await (diagnose_clear(peer, at) if credentials is None else diagnose_encrypted(peer, at, credentials))


async def _connects(stream: GrpcClientStream) -> bool:
    """Waits for the connection under a stream; closes the stream if the network is down or the time is over.

    Raises:
        StreamBroken: the peer's machine refuses the connection.
    """
    connected = False
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            await stream.connected()
        connected = True
    except TimeoutError:
        pass
    except StreamBroken as error:
        if not any(os.strerror(number) in error.reason for number in _NETWORK_DOWN):
            raise
    finally:
        if not connected:
            await stream.close()
    return connected
