"""Trains of heartbeats measure the link while frames leave most of it unused: when one goes, what it told.  Pure.

A train follows a frame closely, so that the next frame does not meet it, and takes some 12 ms of the link, not more
than a few percent of it on average.  How long its heartbeats have to be for that is learnt from train to train.
No train goes while frames measure the link themselves: because they are long, or because they had to wait.
"""

from collections.abc import Sequence
from dataclasses import replace

from common.wire.convert import Heartbeat
from sender.congestion.packet_train import PacketTrainPlan, PacketTrainSample, measure
from sender.congestion.paper_delay import WindowedExtreme
from sender.congestion.samples import LinkSample, wire_bytes

# A first train that anything from 20 kbit/s up can bear, and how much more each may ask after one that told nothing.
_FIRST_BPS = 60_000.0
_GROWTH = 4.0
_FASTEST_BPS = 40e6
_LEARNING_PAUSE_MS = 100.0
# Echoes are lost with their stream only; who waits longer than this waits for nothing.
_PATIENCE_MS = 2000.0
# A frame of so many bytes is as good as a train.
_TELLING_BYTES = 3000
_FRESH_MS = 300.0
# So does one that had to wait for others to get through; behind one that is very late a train would only add to that.
_QUEUED_MS, _MUCH_QUEUED_MS, _SHORTEST_WINDOW_MS = 20.0, 50.0, 10_000.0
# Beyond this share of the capacity frames meet their own queue.
_BUSY = 0.5
_SMOOTHING = 0.9


class Prober:
    """Trains of one stream after the other; times in milliseconds of one monotonic clock."""

    def __init__(self, plan: PacketTrainPlan | None = None) -> None:
        self._plan = plan or PacketTrainPlan()
        self._expected_bps = _FIRST_BPS
        self._frame_bps = 0.0
        self._shortest_ms = WindowedExtreme(_SHORTEST_WINDOW_MS)
        self._last_frame_ms: float | None = None
        self.restart()

    def restart(self) -> None:
        """A new stream began; what went with the old one will not be answered."""
        self._waiting: dict[int, int] = {}
        self._arrived: list[tuple[float, int]] = []
        self._next_ms = self._told_ms = self._began_ms = -float("inf")

    def frame(self, message_bytes: int, now_ms: float) -> None:
        """A frame of that size went out."""
        if self._last_frame_ms is not None:
            spacing_ms = max(now_ms - self._last_frame_ms, 1.0)
            share = _SMOOTHING ** (spacing_ms / 33.0)
            self._frame_bps = share * self._frame_bps + (1 - share) * wire_bytes(message_bytes) * 8e3 / spacing_ms
        self._last_frame_ms = now_ms

    def acknowledged(self, sample: LinkSample, now_ms: float) -> None:
        """A frame was acknowledged: it may have told as much as a train would."""
        shortest_ms = self._shortest_ms.update(sample.round_trip_time_ms, now_ms)
        late_ms = sample.round_trip_time_ms - shortest_ms
        queued = late_ms > _QUEUED_MS if sample.waited else late_ms > _MUCH_QUEUED_MS + shortest_ms
        if queued or sample.message_bytes >= _TELLING_BYTES:
            self._told_ms = now_ms

    def packet_train(self, now_ms: float) -> tuple[int, ...]:
        """Sizes of the messages that shall follow the frame that has just left; none if there is no need."""
        if self._waiting and now_ms - self._began_ms > _PATIENCE_MS:
            self._waiting.clear()
        if self._waiting or now_ms < self._next_ms or now_ms - self._told_ms < _FRESH_MS:
            return ()
        if self._frame_bps > _BUSY * self._expected_bps and self._expected_bps > _FIRST_BPS:
            return ()
        return self._plan.messages(self._expected_bps)

    def sent(self, heartbeats: Sequence[Heartbeat], sizes: Sequence[int], now_ms: float) -> None:
        """A train went out."""
        self._waiting = {beat.sent_ns: size for beat, size in zip(heartbeats, sizes, strict=True)}
        self._arrived = []
        self._began_ms = now_ms
        self._next_ms = now_ms + self._plan.pause_ms(sizes, self._expected_bps)

    def echoed(self, echo: Heartbeat, now_ms: float) -> PacketTrainSample | None:
        """The echo of any heartbeat came in; what the train measured, if this was its last."""
        size = self._waiting.pop(echo.sent_ns, None)
        if size is None:
            return None
        self._arrived.append((echo.received_ns / 1e6, size))
        if self._waiting:
            return None
        arrivals_ms, sizes = zip(*self._arrived, strict=True)
        measurement = measure(arrivals_ms, sizes)

        self._learn(measurement, now_ms)
        return measurement

    def _learn(self, measurement: PacketTrainSample, now_ms: float) -> None:
        if measurement.resolved:
            self._expected_bps = min(measurement.bps, _GROWTH * self._expected_bps)
        else:
            self._expected_bps = min(_GROWTH * self._expected_bps, _FASTEST_BPS)
            self._next_ms = min(self._next_ms, now_ms + _LEARNING_PAUSE_MS)


def padded(heartbeat: Heartbeat, message_bytes: int, bare_bytes: int) -> Heartbeat:
    """A heartbeat as long as asked for.

    Args:
        bare_bytes: how long it is without padding.
    """
    return replace(heartbeat, padding=bytes(max(message_bytes - bare_bytes, 0)))
