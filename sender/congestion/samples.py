"""What the link measured about one acknowledged frame: the only thing that the estimators eat."""

import math
from dataclasses import dataclass

# Headers: of gRPC and HTTP/2 around a message, of TCP and IP around each packet.
_MESSAGE_HEADER_BYTES, _PACKET_HEADER_BYTES = 18, 52
_SEGMENT_BYTES = 1448


def wire_bytes(message_bytes: int) -> int:
    """What a message takes of the link, about, with the headers around it."""
    total = message_bytes + _MESSAGE_HEADER_BYTES
    return total + _PACKET_HEADER_BYTES * math.ceil(total / _SEGMENT_BYTES)


@dataclass(frozen=True, slots=True)
class LinkSample:
    """One acknowledged frame.

    Intervals come from monotonic clocks; the four stamps are wall clocks, for estimating the clocks' offset.

    Args:
        sequence: the frame's.
        message_bytes: size of its gRPC message.
        round_trip_time_ms: from sending to acknowledgement, without the time that the receiver held it.
        hold_ms: how long the receiver decoded and reconstructed before it acknowledged.
        sent_spacing_ms: since the previous frame was sent on this stream; None for the first.
        arrival_spacing_ms: since the previous frame arrived there; None for the first.
        waited: the frame was ready while the window was full, so something other than the source held it back.
        client_sent_ns, client_received_ns: the sender's wall clock, ns since the epoch.
        server_received_ns, server_sent_ns: the receiver's wall clock, ns since the epoch.
    """

    sequence: int
    message_bytes: int
    round_trip_time_ms: float
    hold_ms: float
    sent_spacing_ms: float | None
    arrival_spacing_ms: float | None
    waited: bool
    client_sent_ns: int
    server_received_ns: int
    server_sent_ns: int
    client_received_ns: int

    @property
    def wire_bytes(self) -> int:
        """What the frame takes of the link, about: its message with the headers around it."""
        return wire_bytes(self.message_bytes)

    @property
    def one_way_ms(self) -> float:
        """Sender to receiver, plus the unknown but constant offset of their clocks: good for differences only."""
        return (self.server_received_ns - self.client_sent_ns) / 1e6
