"""QUIC where it answers, gRPC elsewhere (`--transport auto`).

Networks, proxies and receivers may take no UDP, or drop it later.  A connection begins with QUIC; if that is refused,
or takes longer than a handshake should, gRPC is tried beside it, and whichever is ready first is used.
"""

import asyncio

from common.io.addresses import Address
from common.wire.quic import QuicStream
from common.wire.quic_connection import USUAL_ROUND_TRIP_S
from sender.link.transport.grpc_stream import GrpcClientStream
from sender.link.transport.handshake import ClientStream
from sender.link.transport.quic_transport import QuicTransport
from sender.link.transport.reachability import PROBE_INTERVAL_S
from sender.link.transport.standby_connection import StandbyConnection
from sender.link.transport.transport import Transport

# How long QUIC is tried alone: its handshake takes two round trips, and some computing time.
_ROUND_TRIPS, _LEAST_HEAD_START_S, _MOST_HEAD_START_S = 3.0, 0.3, 1.0
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
        self._handshake_s = _ROUND_TRIPS * round_trip_s
        self._probe_interval_s = max(_PROBE_SHARE * round_trip_s, PROBE_INTERVAL_S)
        self._grpc_until_s: dict[Address, float] = {}

    async def reach(self, peer: Address) -> ClientStream:
        """See `StreamOpener.reach`."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        if began_s < self._grpc_until_s.get(peer, 0.0):
            return await self._grpc.reach(peer)
        at = await self._grpc.names.reachable(peer, self._probe_interval_s)
        head_start_s = min(max(_ROUND_TRIPS * (loop.time() - began_s), _LEAST_HEAD_START_S), _MOST_HEAD_START_S)
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
