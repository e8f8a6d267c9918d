"""The frames of one stream that have arrived and wait for their turn."""

import asyncio
from dataclasses import dataclass

from common.clock import Clock
from common.wire.convert import FrameMessage
from common.wire.stream import StreamBroken


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message to acknowledge.

    Args:
        frame: None if the message could not be parsed.
        reason: why it could not.
        arrived_s: monotonic time.
        received_ns: the same, in nanoseconds since the epoch.
        spacing_ns: since the arrival before; 0 for the first of the stream.
        message_bytes: size of the gRPC message.
    """

    frame: FrameMessage | None
    reason: str
    arrived_s: float
    received_ns: int
    spacing_ns: int
    message_bytes: int


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
        self._last_arrival_s: float | None = None
        self.newer_waits = asyncio.Event()

    def put(self, frame: FrameMessage | None, reason: str, message_bytes: int) -> None:
        """Appends a message; see `Arrival`.

        Raises:
            StreamBroken: too many frames are unacknowledged.
        """
        if self._unacknowledged >= self._window:
            raise StreamBroken("INVALID_ARGUMENT", f"more than {self._window} unacknowledged frames")
        now_s, last_s = self._clock.monotonic(), self._last_arrival_s
        self._last_arrival_s = now_s
        # Clocks do not resolve spacings below 1 ns.
        spacing_ns = 0 if last_s is None else max(int((now_s - last_s) * 1e9), 1)
        self._unacknowledged += 1
        received_ns = int(self._clock.wall() * 1e9)
        self._queue.put_nowait(Arrival(frame, reason, now_s, received_ns, spacing_ns, message_bytes))
        if frame is not None:
            self._frames_waiting += 1
            self.newer_waits.set()

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
