"""What one acknowledged frame measured of the link: the input of every estimator."""

from dataclasses import dataclass

from common.wire.traffic import wire_bytes


@dataclass(frozen=True, slots=True)
class LinkSample:
    """One acknowledged frame.

    Intervals come from monotonic clocks; the two time stamps from the wall clocks of both ends.

    Args:
        sequence: the frame's.
        message_bytes: size of its gRPC message.
        round_trip_time_ms: from sending to acknowledgement, without `hold_ms`.
        hold_ms: decoding and reconstruction at the receiver, before the acknowledgement.
        sent_spacing_ms: since the previous frame was sent on this stream; None for the first.
        arrival_spacing_ms: since the previous frame arrived at the receiver; None for the first.
        waited: the frame was ready while the window was full, so the link and not the source held it back.
        client_sent_ns: the sender's wall clock, ns since the epoch.
        server_received_ns: the receiver's wall clock, ns since the epoch.
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

    @property
    def wire_bytes(self) -> int:
        """Approximate size of the frame on the link, headers included."""
        return wire_bytes(self.message_bytes)

    @property
    def one_way_ms(self) -> float:
        """One-way delay plus the unknown but constant offset of the clocks: only differences are meaningful."""
        return (self.server_received_ns - self.client_sent_ns) / 1e6
