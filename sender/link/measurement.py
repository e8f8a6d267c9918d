"""What the answers to messages measure of the link."""

import math

from common.clock import Clock
from common.errors import PeerError
from common.wire.convert import Acknowledgement
from sender.congestion.samples import LinkSample
from sender.link.frame_queue import InFlight

# How much longer than is possible a receiver's clocks may show an interval: they may be stepped.
_CLOCK_TOLERANCE_MS = 1000.0
# Neither do they by as much, nor while this machine sleeps.
_IMPOSSIBLE_MS = 60_000.0


class LinkMeasurement:
    """Of one stream (`lossy`: messages and their answers may be lost on it)."""

    def __init__(self, clock: Clock, *, lossy: bool) -> None:
        self._clock, self._lossy, self._began_s = clock, lossy, clock.monotonic()
        self._prompt_hold_us: float = math.inf
        self._last_answered_s: float | None = None

    def arrived(self, newest: Acknowledgement) -> None:
        """Takes note of the newest of the answers that have arrived together."""
        self._prompt_hold_us = newest.hold_us

    def sample(self, ack: Acknowledgement, answered: InFlight) -> LinkSample:
        """What the answer to a message measures; call it once for each, in order.

        Raises:
            PeerError: the receiver says that something lasted longer than the message, or the stream, has.
        """
        # The receiver's times are those of its clocks, or hostile: no interval is longer than we have waited.
        now_s = self._clock.monotonic()
        total_ms = (now_s - answered.sent_at_s) * 1e3
        for said_us, longest_ms in ((ack.hold_us, total_ms), (ack.spacing_us, (now_s - self._began_s) * 1e3)):
            if said_us / 1e3 > longest_ms + _IMPOSSIBLE_MS:
                raise PeerError(
                    f"the receiver says that it took {said_us / 1e6:.0f} s for frame {ack.sequence}, which was sent "
                    f"{total_ms / 1e3:.1f} s ago: its clock is faulty, or it is no Bodywire receiver; see --peer"
                )
        hold_ms = min(ack.hold_us / 1e3, total_ms + _CLOCK_TOLERANCE_MS)
        sent_spacing_ms = self._sent_spacing_ms(answered)
        longest_spacing_ms = total_ms + (sent_spacing_ms or 0.0) + _CLOCK_TOLERANCE_MS
        spacing_ms = min(ack.spacing_us / 1e3, longest_spacing_ms) if ack.spacing_us else None
        return LinkSample(
            sequence=ack.sequence,
            message_bytes=answered.message_bytes,
            round_trip_time_ms=max(total_ms - hold_ms, 0.0),
            # Without the time for which the answer waited for others; of a bundle, what one frame takes.
            hold_ms=min(hold_ms, self._prompt_hold_us / 1e3) / len(answered.frames),
            sent_spacing_ms=sent_spacing_ms,
            arrival_spacing_ms=spacing_ms,
            waited=answered.waited,
            frames=len(answered.frames),
        )

    def _sent_spacing_ms(self, answered: InFlight) -> float | None:
        """Since the message was sent that arrived before this one."""
        last_s, self._last_answered_s = self._last_answered_s, answered.sent_at_s
        if not self._lossy:
            return answered.sent_spacing_ms
        return None if last_s is None else (answered.sent_at_s - last_s) * 1e3
