"""The messages of one stream that have arrived and wait for their turn."""

import asyncio
from dataclasses import dataclass

from common.clock import Clock
from common.wire.convert import FrameMessage
from common.wire.stream import StreamBroken
from receiver.link.frame_handler import Arrival

WINDOW = 8
"""Most unacknowledged frames of a sender."""

# Two clocks are read one after the other: they may differ by this much without a step.
_CLOCK_STEP_US = 1000


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message to acknowledge.

    Args:
        frame: None if the message could not be parsed.
        reason: why it could not.
        arrival: of the message.
        received_us: the same, in microseconds since the epoch.
        spacing_us: since the arrival before; 0 for the first of the stream.
    """

    frame: FrameMessage | None
    reason: str
    arrival: Arrival
    received_us: int
    spacing_us: int


class ReceiveQueue:
    """Queue between the reader and the worker of a stream."""

    def __init__(self, window: int, clock: Clock) -> None:
        self._window, self._clock = window, clock
        self._queue: asyncio.Queue[ReceivedMessage | None] = asyncio.Queue()
        self._unacknowledged = 0
        self._frames_waiting = 0
        self._last: ReceivedMessage | None = None
        # Concerns the frame that was taken last: all others that have arrived are newer.
        self._superseded = asyncio.Event()

    def put(self, frame: FrameMessage | None, reason: str = "") -> None:
        """Appends a message; see `ReceivedMessage`. Raises StreamBroken if too many frames are unacknowledged."""
        if self._unacknowledged >= self._window:
            raise StreamBroken("INVALID_ARGUMENT", f"more than {self._window} unacknowledged frames")
        self._unacknowledged += 1
        self._last = self._received(frame, reason)
        self._queue.put_nowait(self._last)
        if frame is not None:
            self._frames_waiting += 1
            self._superseded.set()

    def _received(self, frame: FrameMessage | None, reason: str) -> ReceivedMessage:
        """A message now; the wall clock is read again only when it was stepped, so that times keep their spacing."""
        now_s, wall_us, last = self._clock.monotonic(), int(self._clock.wall() * 1e6), self._last
        arrival = Arrival(now_s, self._superseded)
        if last is None:
            return ReceivedMessage(frame, reason, arrival, wall_us, 0)
        # Clocks do not resolve spacings below 1 µs.
        spacing_us = max(int(now_s * 1e6) - int(last.arrival.at_s * 1e6), 1)
        expected_us = last.received_us + spacing_us
        stepped = abs(wall_us - expected_us) > _CLOCK_STEP_US
        return ReceivedMessage(frame, reason, arrival, wall_us if stepped else expected_us, spacing_us)

    async def take(self) -> ReceivedMessage | None:
        """Waits for the next message and removes it; None at the end."""
        message = await self._queue.get()
        if message is not None and message.frame is not None:
            self._frames_waiting -= 1
            if not self._frames_waiting:
                self._superseded.clear()
        return message

    def acknowledged(self) -> None:
        """Makes room for another message: one that was taken is handled."""
        self._unacknowledged -= 1

    def finish(self) -> None:
        """Ends the queue behind what waits in it."""
        self._queue.put_nowait(None)

    def discard(self) -> None:
        """Removes what waits, and ends the queue."""
        while not self._queue.empty():
            self._queue.get_nowait()
        self._frames_waiting = 0
        self._superseded.clear()
        self.finish()
