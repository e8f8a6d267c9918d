"""Link samples with chosen values, and a simulated bottleneck that produces them."""

from dataclasses import dataclass

from common.wire.traffic import wire_bytes
from sender.congestion.capacity import LinkSample


def sample(
    *,
    message_bytes: int = 300,
    rtt_ms: float = 20.0,
    sent_spacing_ms: float | None = 33.0,
    arrival_spacing_ms: float | None = 33.0,
    waited: bool = False,
    sequence: int = 0,
) -> LinkSample:
    return LinkSample(
        sequence=sequence,
        message_bytes=message_bytes,
        round_trip_time_ms=rtt_ms,
        hold_ms=5.0,
        sent_spacing_ms=sent_spacing_ms,
        arrival_spacing_ms=arrival_spacing_ms,
        waited=waited,
    )


@dataclass
class FakeBottleneck:
    """A first-in-first-out link of fixed capacity and delay, and a sender with a window of two frames.

    Args:
        capacity_bps: may be changed at any time.
        delay_ms: one way, without queueing.
    """

    capacity_bps: float
    delay_ms: float = 10.0
    _free_ms: float = 0.0
    _last_sent_ms: float | None = None
    _last_arrival_ms: float | None = None
    _second_last_acknowledged_ms: float = 0.0
    _last_acknowledged_ms: float = 0.0

    def send(self, wanted_ms: float, message_bytes: int) -> tuple[LinkSample, float]:
        """Sends a frame as soon as the window allows; returns its sample and the time of its acknowledgement."""
        sent_ms = max(wanted_ms, self._second_last_acknowledged_ms)
        self._free_ms = max(self._free_ms, sent_ms) + wire_bytes(message_bytes) * 8 / self.capacity_bps * 1e3
        arrival_ms = self._free_ms + self.delay_ms
        measured = sample(
            message_bytes=message_bytes,
            rtt_ms=arrival_ms + self.delay_ms - sent_ms,
            sent_spacing_ms=None if self._last_sent_ms is None else sent_ms - self._last_sent_ms,
            arrival_spacing_ms=None if self._last_arrival_ms is None else arrival_ms - self._last_arrival_ms,
            waited=sent_ms > wanted_ms,
        )
        self._last_sent_ms, self._last_arrival_ms = sent_ms, arrival_ms
        self._second_last_acknowledged_ms = self._last_acknowledged_ms
        self._last_acknowledged_ms = arrival_ms + self.delay_ms
        return measured, self._last_acknowledged_ms


class ConstantPacer:
    """Allows a number of bytes of blobs per frame, and at most `most` in flight.

    Attributes:
        blob_sizes: those that it was asked for.
    """

    bundle = 8

    def __init__(self, bytes_per_frame: int, most: int = 10**9) -> None:
        self.bytes_per_frame, self.most = bytes_per_frame, most
        self.blob_sizes: list[int] = []

    def background_bytes(self, in_flight_bytes: int, blob_bytes: int, now_ms: float) -> int:
        self.blob_sizes.append(blob_bytes)
        return max(min(self.bytes_per_frame, self.most - in_flight_bytes), 0)
