"""A QUIC connection as the link wants it: rare acknowledgements beside data, no pacing, short headers.

`aioquic` has no public settings for that, nor for asking senders for certificates, nor does it tell what waits to be
sent: `LinkConnection` overrides or reads its internals, and nothing else does.
"""

import logging
import os
from collections.abc import Iterable
from typing import Any

from aioquic import tls
from aioquic._buffer import Buffer as Buffer  # `aioquic.buffer` does not export it
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection, QuicConnectionError
from aioquic.quic.packet import QuicErrorCode
from aioquic.quic.stream import QuicStream
from cryptography import x509

# In the header of every packet to this end. A sender has one connection at a time on its port; connections of a
# receiver that have the same are told apart by their senders' addresses and by their keys.
CONNECTION_ID_BYTES = 1
FIRST_ID_BYTES = 8
"""Of the identifier that a sender makes up for its first packet (RFC 9000, section 7.2, asks for as many)."""
_ALPN = "bodywire"
_IDLE_TIMEOUT_S = 30.0
# Packets are acknowledged so late, or beside data once they have waited a while; datagrams, which are not sent again,
# as late as a thin link has anything to send back; long packets, which belong to blobs and packet trains, open the
# peer's congestion window.
_ACK_DELAY_S, _BESIDE_DATA_DELAY_S, _LONG_PACKET_ACK_DELAY_S, _DATAGRAM_ACK_DELAY_S = 0.8, 0.2, 0.002, 4.0
_LONG_PACKET_BYTES = 600
# A datagram that waits for the congestion window behind so many others is out of date.
_MAX_DATAGRAMS_OUT = 32
# How far behind the first missing byte of the stream a peer may send: one byte there takes the memory of all before it.
# Until this end has answered, there is room for a Hello.
_FIRST_AHEAD_BYTES, _MAX_AHEAD_BYTES = 65_536, 1_048_576
# Of all streams: there is one.
_MAX_BYTES = 2**60
# Parts of a stream behind a missing one: each frame is compared with all of them.
_MAX_PARTS = 64
USUAL_ROUND_TRIP_S = 0.1
"""Of a first packet, where nothing is known."""
# The link sends shorter ones; each byte of a longer one may be a frame.
MAX_PACKET_BYTES = 1500
# Of a handshake and a Hello, or the answers to them, with what is sent again.
_MAX_FIRST_PACKETS = 128
# Of TLS, at each stage; a chain of certificates has about a tenth.
_MAX_CRYPTO_BYTES = 65_536

# aioquic logs every connection that fails.
logging.getLogger("quic").setLevel(logging.CRITICAL)


def configuration(*, is_sender: bool) -> QuicConfiguration:
    """The settings of one end, without certificates."""
    return QuicConfiguration(
        is_client=is_sender,
        alpn_protocols=[_ALPN],
        connection_id_length=CONNECTION_ID_BYTES,
        idle_timeout=_IDLE_TIMEOUT_S,
        max_data=_MAX_BYTES,
        max_stream_data=_FIRST_AHEAD_BYTES,
        max_datagram_frame_size=65_536,
    )


class _Unpaced:
    """Frames leave when they are encoded, and packet trains at once: the link paces itself."""

    def next_send_time(self, now: float) -> None: ...

    def update_after_send(self, now: float) -> None: ...

    def update_rate(self, congestion_window: int, smoothed_rtt: float) -> None: ...


class LinkConnection(QuicConnection):
    """One end of a connection.

    Args:
        asks_for_certificate: the sender has to send one, which is not checked yet.
        round_trip_s: what the first one may take, seconds; nothing is sent again before twice as long.
        options: of `QuicConnection`.
    """

    def __init__(
        self, *, asks_for_certificate: bool = False, round_trip_s: float = USUAL_ROUND_TRIP_S, **options: Any
    ) -> None:
        super().__init__(**options)
        self._asks_for_certificate = asks_for_certificate
        self._ack_delay = _DATAGRAM_ACK_DELAY_S
        self._unacknowledged_since_s = 0.0
        self._only_datagrams = False
        self._first_packets = 0
        if self._is_client:
            self._original_destination_connection_id = self._peer_cid.cid = os.urandom(FIRST_ID_BYTES)
        recovery: Any = self._loss
        recovery._pacer = _Unpaced()
        recovery._rtt_initial = max(round_trip_s, USUAL_ROUND_TRIP_S)
        # The one stream is the sender's.
        for limit, streams in ((self._local_max_streams_bidi, not self._is_client), (self._local_max_streams_uni, 0)):
            limit.value = limit.sent = int(streams)

    @property
    def certificate(self) -> x509.Certificate | None:
        """The peer's, whose key it has proved to have; None without one."""
        return self.tls._peer_certificate

    @property
    def certificate_chain(self) -> list[x509.Certificate]:
        """What the peer has sent behind its certificate."""
        return self.tls._peer_certificate_chain

    def backlog_bytes(self, stream: int) -> int:
        """Bytes of a stream that were not sent, or not acknowledged."""
        found = self._streams.get(stream)
        return 0 if found is None else len(found.sender._buffer)

    def send_datagram_frame(self, data: bytes) -> None:
        """Sends a datagram; of those that wait for the congestion window, the oldest are dropped."""
        while len(self._datagrams_pending) >= _MAX_DATAGRAMS_OUT:
            self._datagrams_pending.popleft()
        super().send_datagram_frame(data)
        # The peer acknowledges as late as this end does.
        self._loss.max_ack_delay = _ACK_DELAY_S if self._has_backlog else _DATAGRAM_ACK_DELAY_S

    def send_stream_data(self, stream_id: int, data: bytes, end_stream: bool = False) -> None:
        """Sends a part of a stream."""
        super().send_stream_data(stream_id, data, end_stream)
        self._loss.max_ack_delay = _ACK_DELAY_S

    def receive_datagram(self, data: bytes, addr: Any, now: float) -> None:
        """Handles a packet; one that is too long is dropped."""
        if len(data) > MAX_PACKET_BYTES:
            return
        acknowledged = all(space.ack_at is None for space in self._spaces.values())
        self._only_datagrams = False
        super().receive_datagram(data, addr, now)
        if acknowledged:
            self._unacknowledged_since_s = now
        delay_s = _DATAGRAM_ACK_DELAY_S if self._only_datagrams else _ACK_DELAY_S
        delay_s = _LONG_PACKET_ACK_DELAY_S if len(data) >= _LONG_PACKET_BYTES else delay_s
        for space in self._spaces.values():
            if space.ack_at is not None:
                space.ack_at = min(space.ack_at, now + delay_s)

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        self.tls._request_client_certificate = self._asks_for_certificate

    def _parse_transport_parameters(self, data: bytes, from_session_ticket: bool = False) -> None:
        super()._parse_transport_parameters(data, from_session_ticket)
        self._loss.max_ack_delay = _ACK_DELAY_S
        # A sender's socket has one peer.
        self._remote_preferred_address = None

    def _close_begin(self, is_initiator: bool, now: float) -> None:
        super()._close_begin(is_initiator, now)
        # Nothing has to be kept for late packets of the peer: aioquic answers none.
        self._close_at = now

    def _replenish_connection_ids(self) -> None:
        """Issues no further ones: a connection has the same on every path."""

    def _payload_received(self, context: Any, plain: bytes, crypto_frame_required: bool = False) -> tuple[bool, bool]:
        self._first_packets += not self._has_answered
        if self._first_packets > _MAX_FIRST_PACKETS:
            raise QuicConnectionError(QuicErrorCode.PROTOCOL_VIOLATION, 0, "too many packets before the first message")
        return super()._payload_received(context, plain, crypto_frame_required)

    @property
    def _has_backlog(self) -> bool:
        """Whether a part of the stream was not sent, or not acknowledged."""
        return any(stream.sender._buffer for stream in self._streams.values())

    @property
    def _has_answered(self) -> bool:
        """Whether this end has sent a message: a receiver does so to senders that it takes."""
        return any(stream.sender._buffer_stop for stream in self._streams.values())

    def _handle_ack_frame(self, context: Any, frame_type: int, buf: Buffer) -> None:
        super()._handle_ack_frame(context, frame_type, buf)
        # Afterwards all that is sent would count as lost, and be sent again.
        if self._spaces[context.epoch].largest_acked_packet >= self._packet_number:
            raise QuicConnectionError(QuicErrorCode.PROTOCOL_VIOLATION, frame_type, "this packet was never sent")

    def _handle_crypto_frame(self, context: Any, frame_type: int, buf: Buffer) -> None:
        begin = buf.tell()
        end = buf.pull_uint_var() + buf.pull_uint_var()
        buf.seek(begin)
        if end > _MAX_CRYPTO_BYTES:
            raise QuicConnectionError(QuicErrorCode.CRYPTO_BUFFER_EXCEEDED, frame_type, "too long a handshake")
        # Each time that a sender begins again it has not got the answer, as far as is known; aioquic repeats that once.
        self._crypto_retransmitted &= self._is_client
        super()._handle_crypto_frame(context, frame_type, buf)
        self._limit_parts(frame_type, self._crypto_streams.values())

    def _handle_datagram_frame(self, context: Any, frame_type: int, buf: Buffer) -> None:
        super()._handle_datagram_frame(context, frame_type, buf)
        self._only_datagrams = True

    def _handle_stream_frame(self, context: Any, frame_type: int, buf: Buffer) -> None:
        super()._handle_stream_frame(context, frame_type, buf)
        self._only_datagrams = False
        self._limit_parts(frame_type, self._streams.values())

    @staticmethod
    def _limit_parts(frame_type: int, streams: Iterable[QuicStream]) -> None:
        if any(len(stream.receiver._ranges) > _MAX_PARTS for stream in streams):
            raise QuicConnectionError(QuicErrorCode.INTERNAL_ERROR, frame_type, "too many parts are missing")

    def _write_stream_limits(self, builder: Any, space: Any, stream: QuicStream) -> None:
        receiver, ahead_bytes = stream.receiver, _MAX_AHEAD_BYTES if self._has_answered else _FIRST_AHEAD_BYTES
        limit = receiver.starting_offset() + ahead_bytes
        if limit - stream.max_stream_data_local >= ahead_bytes // 2:
            stream.max_stream_data_local = limit
        # aioquic doubles a limit of which half is used, whether what comes before was received or not.
        highest, receiver.highest_offset = receiver.highest_offset, 0
        try:
            super()._write_stream_limits(builder, space, stream)
        finally:
            receiver.highest_offset = highest

    def _write_handshake(self, builder: Any, epoch: tls.Epoch, now: float) -> None:
        if epoch is tls.Epoch.INITIAL and self._is_client and self._cryptos[tls.Epoch.HANDSHAKE].send.is_valid():
            # The first packet of the next stage acknowledges these too (RFC 9001, section 4.9.1), without 1,200 bytes.
            self._spaces[epoch].ack_at = None
        super()._write_handshake(builder, epoch, now)

    def _write_application(self, builder: Any, network_path: Any, now: float) -> None:
        space = self._spaces[tls.Epoch.ONE_RTT]
        waited = self._unacknowledged_since_s < now - _BESIDE_DATA_DELAY_S
        if self._datagrams_pending and space.ack_at is not None and waited:
            space.ack_at = now
        super()._write_application(builder, network_path, now)
