"""What one acknowledged frame measured of the link: the input of every estimator."""

from dataclasses import dataclass

from common.wire.traffic import wire_bytes


@dataclass(frozen=True, slots=True)
class LinkSample:
    """One acknowledged frame, or bundle.

    Intervals come from monotonic clocks, each of one end.

    Args:
        sequence: the frame's.
        message_bytes: size of its gRPC message.
        round_trip_time_ms: from sending to acknowledgement, without `hold_ms`.
        hold_ms: decoding and reconstruction of one of its frames at the receiver, before the acknowledgement.
        sent_spacing_ms: since the previous frame was sent on this stream; None for the first.
        arrival_spacing_ms: since the previous frame arrived at the receiver; None for the first.
        waited: the frame was ready while the window was full, so the link and not the source held it back.
        frames: of the message.
    """

    sequence: int
    message_bytes: int
    round_trip_time_ms: float
    hold_ms: float
    sent_spacing_ms: float | None
    arrival_spacing_ms: float | None
    waited: bool
    frames: int = 1

    @property
    def wire_bytes(self) -> int:
        """Approximate size of the frame on the link, headers included."""
        return wire_bytes(self.message_bytes)
