"""Streams over QUIC, or over whichever of QUIC and gRPC is answered (`--transport quic`, `auto`).

QUIC where it answers, gRPC elsewhere (`--transport auto`).

Networks, proxies and receivers may take no UDP, or drop it later.  A connection begins with QUIC; if that is refused,
or takes longer than a handshake should, gRPC is tried beside it, and whichever is ready first is used.
"""

import asyncio
import contextlib
from typing import Any

from aioquic import tls
from aioquic.quic.configuration import QuicConfiguration
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate, load_der_x509_certificate

from common.io.addresses import Address
from common.wire.certificates import OWN_CERTIFICATE_NAME
from common.wire.quic import Item, QuicConnectionOfMessages, QuicStream
from common.wire.quic_connection import USUAL_ROUND_TRIP_S, LinkConnection, configuration
from common.wire.stream import StreamBroken
from sender.link.connector import ClientStream, StandbyConnection
from sender.link.transport import PROBE_INTERVAL_S, GrpcClientStream, Transport

# A handshake takes two round trips: so much for each, and at least so much.
_ROUND_TRIPS, _HANDSHAKE_TIMEOUT_S = 4.0, 5.0
# A receiver tells its certificate, or that it has none, at once; one of another release may wait for Hello.
_ANSWER_TIMEOUT_S = 1.0
# A first packet has 1,200 bytes, which a stalled link would carry before all frames: a connection beside another one
# waits for the answer to a small packet, unless only UDP reaches the receiver.
_MAX_PROBE_S = 3.0


class QuicTransport:
    """A `StreamOpener` that encrypts always; `transport` has the certificates and the token, and diagnoses.

    Args:
        round_trip_s: what the first one may take, seconds.

    A receiver that `transport` reaches unencrypted tells its certificate there, and no other is trusted.

    Raises:
        UsageError: in every method: a certificate, key or token cannot be read.
    """

    def __init__(self, transport: Transport, round_trip_s: float = USUAL_ROUND_TRIP_S) -> None:
        self._transport, self._round_trip_s = transport, round_trip_s
        self._timeout_s = max(_ROUND_TRIPS * round_trip_s, _HANDSHAKE_TIMEOUT_S)
        self._told: dict[Address, Certificate] = {}
        self._open_streams, self._tried = 0, False

    async def reach(self, peer: Address) -> QuicStream:
        """See `StreamOpener.reach`."""
        if self._open_streams:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_MAX_PROBE_S):
                    await self._transport.names.reachable(peer)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timeout_s):
                    return await self.connect(peer, (await self._transport.names.addresses(peer))[0])

    async def diagnose(self, peer: Address) -> str | None:
        """See `StreamOpener.diagnose`."""
        found = await self._transport.diagnose(peer)
        if found is not None or not self._tried:
            return found
        try:
            async with asyncio.timeout(_HANDSHAKE_TIMEOUT_S):
                at = await self._transport.names.reachable(peer)
                _, writer = await asyncio.open_connection(at.host, at.port)
            writer.close()
        except (OSError, StreamBroken, TimeoutError):
            return None
        return f"the receiver at {peer} takes no QUIC: start it without --no-quic, or leave out --transport quic here"

    async def connect(self, peer: Address, at: Address) -> QuicStream:
        """Opens a stream to a peer at an IP address. Raises StreamBroken if it refuses the connection."""
        self._tried = True
        if self._transport.files.credentials(peer) is not None:
            return await self._connect(peer, at)
        known = self._told.get(peer)
        if known is not None:
            with contextlib.suppress(StreamBroken):
                return await self._connect(peer, at)
        # A receiver that was started again has made another one.
        self._told[peer] = told = await self._ask(peer)
        if told == known:
            raise StreamBroken("UNAVAILABLE", "no QUIC")
        return await self._connect(peer, at)

    async def _ask(self, peer: Address) -> Certificate:
        """The certificate that an unencrypted receiver has made for itself. Raises StreamBroken if it tells none."""
        stream = await self._transport.reach(peer)
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                return load_der_x509_certificate(await stream.own_certificate() or b"")
        except (TimeoutError, ValueError) as error:
            raise StreamBroken("UNAVAILABLE", "no QUIC") from error
        finally:
            await stream.close()

    async def _connect(self, peer: Address, at: Address) -> QuicStream:
        settings, token = self._configuration(peer), self._transport.files.token(peer)
        loop = asyncio.get_running_loop()
        try:
            transport, connection = await loop.create_datagram_endpoint(
                lambda: QuicConnectionOfMessages(
                    LinkConnection(configuration=settings, round_trip_s=self._round_trip_s)
                ),
                remote_addr=(at.host, at.port),
            )
        except OSError as error:
            raise StreamBroken("UNAVAILABLE", error.strerror or str(error)) from error
        self._open_streams += 1
        stream = QuicStream(connection, lambda: self._closed(transport))
        try:
            await _shake_hands(connection, transport.get_extra_info("peername"))
            if token is not None:
                connection.send(Item.TOKEN, token.encode("ascii"))
        except BaseException:
            await stream.close()
            raise
        return stream

    def _closed(self, transport: asyncio.DatagramTransport) -> None:
        if not transport.is_closing():
            self._open_streams -= 1
            transport.close()

    def _configuration(self, peer: Address) -> QuicConfiguration:
        credentials = self._transport.files.credentials(peer)
        settings = configuration(is_sender=True)
        if credentials is None:
            settings.server_name = OWN_CERTIFICATE_NAME
            settings.cadata = self._told[peer].public_bytes(Encoding.PEM)
            return settings
        settings.server_name = credentials.name or peer.host
        settings.cadata = credentials.authority
        if credentials.certificate is not None and credentials.key is not None:
            chain = tls.load_pem_x509_certificates(credentials.certificate)
            settings.certificate, settings.certificate_chain = chain[0], chain[1:]
            settings.private_key = tls.load_pem_private_key(credentials.key)
        return settings


async def _shake_hands(connection: QuicConnectionOfMessages, peer: Any) -> None:
    """Raises StreamBroken as for a receiver that cannot be reached, which is then diagnosed."""
    connection.connect(peer)
    try:
        await connection.handshaken()
    except StreamBroken as error:
        raise StreamBroken("UNAVAILABLE", error.reason) from error


# How long QUIC is tried alone: its handshake takes two round trips, and some computing time.
_HEAD_START_TRIPS, _LEAST_HEAD_START_S, _MOST_HEAD_START_S = 3.0, 0.3, 1.0
# Where gRPC was ready first, it is used alone for so long: what blocks UDP does so for longer than an outage.
_GRPC_ALONE_S = 60.0
_POLL_S = 0.01
# Of a first round trip: over a thin link more probes would queue before the packets of the handshake.
_PROBE_SHARE = 0.1


class AutoTransport:
    """A `StreamOpener` over both protocols. Raises as both do.

    Args:
        round_trip_s: what the first one may take, seconds.
    """

    def __init__(self, grpc: Transport, round_trip_s: float = USUAL_ROUND_TRIP_S) -> None:
        self._grpc, self._quic = grpc, QuicTransport(grpc, round_trip_s)
        self._handshake_s = _HEAD_START_TRIPS * round_trip_s
        self._probe_interval_s = max(_PROBE_SHARE * round_trip_s, PROBE_INTERVAL_S)
        self._grpc_until_s: dict[Address, float] = {}

    async def reach(self, peer: Address) -> ClientStream:
        """See `StreamOpener.reach`."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        if began_s < self._grpc_until_s.get(peer, 0.0):
            return await self._grpc.reach(peer)
        at = await self._grpc.names.reachable(peer, self._probe_interval_s)
        head_start_s = min(max(_HEAD_START_TRIPS * (loop.time() - began_s), _LEAST_HEAD_START_S), _MOST_HEAD_START_S)
        if self._grpc.files.credentials(peer) is None:
            # Its certificate has to be asked for over gRPC, first.
            head_start_s = _MOST_HEAD_START_S
        head_start_s = max(head_start_s, self._handshake_s)
        quic: StandbyConnection[QuicStream] = StandbyConnection(lambda: self._quic.connect(peer, at))
        grpc: StandbyConnection[GrpcClientStream] = StandbyConnection(lambda: self._grpc.reach(peer))
        try:
            quic.seek()
            await quic.wait(head_start_s)
            if not quic.is_open:
                grpc.seek()
            while not (quic.is_open or grpc.is_open or grpc.failed):
                await grpc.wait(_POLL_S)
            if quic.is_open:
                return await quic.take()
            stream = await grpc.take()
            self._grpc_until_s[peer] = loop.time() + _GRPC_ALONE_S
            return stream
        finally:
            await quic.dismiss()
            await grpc.dismiss()

    async def diagnose(self, peer: Address) -> str | None:
        """See `StreamOpener.diagnose`."""
        return await self._grpc.diagnose(peer)
