"""Opens gRPC streams as the security configuration demands."""

import asyncio
import errno
import os
import socket
import struct
from typing import Any

import grpc

from common.io.addresses import Address
from common.wire.convert import STREAM_METHOD, STREAM_SERVICE
from common.wire.stream import StreamBroken
from sender.link.transport.diagnosis import diagnose_clear, diagnose_encrypted
from sender.link.transport.grpc_stream import OPTIONS, GrpcClientStream
from sender.link.transport.security import CredentialFiles, Credentials, SecurityConfig

# TCP retransmits a lost SYN after a second; a new connection sends one at once.
_PROBE_INTERVAL_S = 0.1
_PROBE_TIMEOUT_S = 1.0
_LINGER_RESET = struct.pack("ii", 1, 0)
# Of the connection and its TLS handshake, on a thin link too, once the peer has answered a probe.
_CONNECT_TIMEOUT_S = 10.0
_NETWORK_DOWN = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.ETIMEDOUT)


async def reachability_probe(peer: Address) -> None:
    """Returns as soon as the peer's machine answers, with or without a server on the port.

    Raises:
        StreamBroken: the peer's name is not known.
    """
    loop = asyncio.get_running_loop()
    probes: set[asyncio.Task[bool]] = set()
    try:
        while True:
            probes.add(asyncio.create_task(_answers(peer)))
            started_s = loop.time()
            done, probes = await asyncio.wait(probes, timeout=_PROBE_INTERVAL_S, return_when=asyncio.FIRST_COMPLETED)
            if any(probe.result() for probe in done):
                return
            # Without a route a probe fails at once, and so would the next one.
            await asyncio.sleep(started_s + _PROBE_INTERVAL_S - loop.time())
    finally:
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)


async def _answers(peer: Address) -> bool:
    """Whether the machine at an address accepts or refuses a connection."""
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            _, writer = await asyncio.open_connection(peer.host, peer.port)
    except ConnectionRefusedError:
        return True
    except socket.gaierror as error:
        raise StreamBroken("UNAVAILABLE", error.strerror or str(error)) from error
    except (OSError, TimeoutError):
        return False
    # A reset is one packet; an orderly end would take several on a network that has just recovered.
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
    writer.transport.abort()
    return True


class Transport:
    """Opens streams to receivers; certificates and token are read again when they change.

    Raises:
        UsageError: in every method: a certificate, key or token cannot be read.
    """

    def __init__(self, config: SecurityConfig | None = None) -> None:
        self._files = CredentialFiles(config or SecurityConfig())

    async def open(self, peer: Address) -> GrpcClientStream:
        """Starts to connect; an unreachable peer shows when reading or writing."""
        token = self._files.token(peer)
        channel = self._channel(peer)
        metadata = (("authorization", f"Bearer {token}"),) if token else None
        # Without (de)serialisers messages stay bytes: `common.wire.convert` checks what arrives.
        call = channel.stream_stream(f"/{STREAM_SERVICE}/{STREAM_METHOD}")(metadata=metadata)
        return GrpcClientStream(channel, call, peer.port)

    def _channel(self, peer: Address) -> Any:
        """A gRPC channel to a peer, not connected yet."""
        credentials = self._files.credentials(peer)
        if credentials is None:
            return grpc.aio.insecure_channel(str(peer), options=OPTIONS)
        trusted = grpc.ssl_channel_credentials(credentials.authority, credentials.key, credentials.certificate)
        named = (("grpc.ssl_target_name_override", credentials.name),) if credentials.name else ()
        return grpc.aio.secure_channel(str(peer), trusted, options=(*OPTIONS, *named))

    def credentials(self, peer: Address) -> Credentials | None:
        """TLS credentials of a connection to a peer; None if it is not encrypted."""
        return self._files.credentials(peer)

    def token(self, peer: Address) -> str | None:
        """The sender's token; None if it has none."""
        return self._files.token(peer)

    async def reach(self, peer: Address) -> GrpcClientStream:
        """Opens a stream over an established connection, as soon as the peer's network is reachable.

        A connection whose SYN was lost retransmits it late and starts with a small window. So none is opened before
        the peer has answered a reachability probe.

        Raises:
            StreamBroken: the peer's machine refuses the connection, or its name is not known.
        """
        while True:
            await reachability_probe(peer)
            stream = await self.open(peer)
            if await _connects(stream):
                return stream

    async def diagnose(self, peer: Address) -> str | None:
        """Finds out why there is no stream to a peer that accepts connections.

        Returns:
            What is wrong and what to do; None if the peer accepts no TCP connection, or nothing is wrong.
        """
        credentials = self._files.credentials(peer)
        return await (diagnose_clear(peer) if credentials is None else diagnose_encrypted(peer, credentials))


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
