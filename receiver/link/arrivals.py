"""The frames of one stream that have arrived and wait for their turn."""

import asyncio
from dataclasses import dataclass

from common.clock import Clock
from common.wire.convert import FrameMessage
from common.wire.stream import StreamBroken

# Two clocks are read one after the other: they may differ by this much without a step.
_CLOCK_STEP_US = 1000


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message to acknowledge.

    Args:
        frame: None if the message could not be parsed.
        reason: why it could not.
        arrived_s: monotonic time.
        received_us: the same, in microseconds since the epoch.
        spacing_us: since the arrival before; 0 for the first of the stream.
    """

    frame: FrameMessage | None
    reason: str
    arrived_s: float
    received_us: int
    spacing_us: int


class Arrivals:
    """Queue between the reader and the worker of a stream.

    Args:
        window: most unacknowledged frames; a sender that exceeds it loses the stream.

    Attributes:
        newer_waits: set while a frame waits that arrived after the one taken last.
    """

    def __init__(self, window: int, clock: Clock) -> None:
        self._window, self._clock = window, clock
        self._queue: asyncio.Queue[Arrival | None] = asyncio.Queue()
        self._unacknowledged = 0
        self._frames_waiting = 0
        self._last: Arrival | None = None
        self.newer_waits = asyncio.Event()

    def put(self, frame: FrameMessage | None, reason: str = "") -> None:
        """Appends a message; see `Arrival`.

        Raises:
            StreamBroken: too many frames are unacknowledged.
        """
        if self._unacknowledged >= self._window:
            raise StreamBroken("INVALID_ARGUMENT", f"more than {self._window} unacknowledged frames")
        self._unacknowledged += 1
        self._last = self._timed(frame, reason)
        self._queue.put_nowait(self._last)
        if frame is not None:
            self._frames_waiting += 1
            self.newer_waits.set()

    def _timed(self, frame: FrameMessage | None, reason: str) -> Arrival:
        """An arrival now; the wall clock is read again only when it was stepped, so that times keep their spacing."""
        now_s, wall_us, last = self._clock.monotonic(), int(self._clock.wall() * 1e6), self._last
        if last is None:
            return Arrival(frame, reason, now_s, wall_us, 0)
        # Clocks do not resolve spacings below 1 µs.
        spacing_us = max(int(now_s * 1e6) - int(last.arrived_s * 1e6), 1)
        expected_us = last.received_us + spacing_us
        stepped = abs(wall_us - expected_us) > _CLOCK_STEP_US
        return Arrival(frame, reason, now_s, wall_us if stepped else expected_us, spacing_us)

    async def take(self) -> Arrival | None:
        """Waits for the next message and removes it; None at the end."""
        arrival = await self._queue.get()
        if arrival is not None and arrival.frame is not None:
            self._frames_waiting -= 1
            if not self._frames_waiting:
                self.newer_waits.clear()
        return arrival

    def settled(self) -> None:
        """Handles the acknowledgement of a message that was taken: there is room for another one."""
        self._unacknowledged -= 1

    def finish(self) -> None:
        """Ends the queue behind what waits in it."""
        self._queue.put_nowait(None)

    def discard(self) -> None:
        """Removes what waits, and ends the queue."""
        while not self._queue.empty():
            self._queue.get_nowait()
        self._frames_waiting = 0
        self.newer_waits.clear()
        self.finish()
