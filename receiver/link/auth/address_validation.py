"""Whether the sender of a QUIC packet is at its address (RFC 9000, section 8.1).

While few handshakes begin, an address proves itself by ending its own, and gets no more than three times its bytes
before.  Who forges addresses ends none: then each has to prove itself before anything is kept, with a token that only
a sender at that address gets, which takes another round trip, of 4 s at 2.4 kbit/s.
"""

import os
from dataclasses import dataclass
from typing import Any

from aioquic.quic.packet import QuicHeader, encode_quic_retry
from aioquic.quic.retry import TOKEN_LIFETIME, QuicRetryTokenHandler

from common.wire.quic_connection import FIRST_ID_BYTES

# Handshakes that may begin within this time without proof; a handshake ends or is over by then.
_MOST_UNPROVEN, _UNPROVEN_S = 16, 10.0
# Of the identifier that comes with a token, random bytes and milliseconds.
_RANDOM_BYTES, _TIME_BYTES, _TIMES_MS = 4, 4, 1 << 32
# Longer ones are no round trips. Where none is known, the sender, which knows its link, asks for what was lost.
_MAX_ROUND_TRIP_S = 10.0


@dataclass(frozen=True, slots=True)
class FirstPacket:
    """A packet that may begin a connection.

    Args:
        identifier: to which it is addressed.
        original: to which the sender's first packet was addressed.
        retry: the identifier that came with the token; None if none was asked for.
        round_trip_s: what nothing is sent again before, about.
    """

    identifier: bytes
    original: bytes
    retry: bytes | None
    round_trip_s: float


class AddressValidation:
    """Of one receiver; times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._tokens = QuicRetryTokenHandler()
        # By the identifier of the first packet: when connections began, and those of them without proof.
        self._begun_s, self._unproven_s = dict[bytes, float](), dict[bytes, float]()

    def asks(self, now_s: float) -> bool:
        """Whether a sender has to bring a token."""
        _drop_older(self._unproven_s, now_s - _UNPROVEN_S)
        return len(self._unproven_s) >= _MOST_UNPROVEN

    def retry(self, header: QuicHeader, addr: Any, now_s: float) -> bytes:
        """The packet with a token, shorter than the one that it answers."""
        assert header.version is not None
        identifier = os.urandom(_RANDOM_BYTES) + _milliseconds(now_s).to_bytes(_TIME_BYTES)
        original = header.destination_cid
        token = self._tokens.create_token(
            address=addr,
            original_destination_connection_id=original,
            retry_source_connection_id=identifier,
            now=now_s,
        )
        return encode_quic_retry(
            version=header.version,
            source_cid=identifier,
            destination_cid=header.source_cid,
            original_destination_cid=original,
            retry_token=token,
        )

    def check(self, header: QuicHeader, addr: Any, now_s: float) -> FirstPacket:
        """Checks a first packet.

        Raises:
            ValueError: it has begun a connection, its token is old or of another address, or it has a short identifier.
        """
        identifier = header.destination_cid
        packet = FirstPacket(identifier, identifier, None, _MAX_ROUND_TRIP_S)
        if header.token:
            token = {"address": addr, "destination_cid": identifier, "token": header.token, "now": now_s}
            asked_ms = int.from_bytes(identifier[_RANDOM_BYTES:])
            round_trip_s = ((_milliseconds(now_s) - asked_ms) % _TIMES_MS) / 1e3
            original = self._tokens.validate_token(**token)
            packet = FirstPacket(identifier, original, identifier, min(round_trip_s, _MAX_ROUND_TRIP_S))
        _drop_older(self._begun_s, now_s - TOKEN_LIFETIME)
        if len(identifier) < FIRST_ID_BYTES:
            raise ValueError("its identifier is too short")
        if identifier in self._begun_s:
            raise ValueError("it has begun a connection")
        return packet

    def begun(self, packet: FirstPacket, now_s: float) -> None:
        """Records that it begins a connection: it will begin no other."""
        self._begun_s[packet.identifier] = now_s
        if packet.retry is None:
            self._unproven_s[packet.identifier] = now_s

    def proved(self, identifier: bytes) -> None:
        """Records that the handshake of a connection is over."""
        self._unproven_s.pop(identifier, None)


def _milliseconds(now_s: float) -> int:
    """The last bits of a time."""
    return round(now_s * 1e3) % _TIMES_MS


def _drop_older(times_s: dict[bytes, float], limit_s: float) -> None:
    """Removes the times before a limit; they are in order."""
    while times_s and next(iter(times_s.values())) < limit_s:
        del times_s[next(iter(times_s))]
