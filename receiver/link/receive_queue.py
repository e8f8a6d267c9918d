"""The messages of one stream: those that wait for their turn, and the answers to those that were handled."""

import asyncio
from collections import deque
from dataclasses import dataclass
from statistics import median_low

from common.clock import Clock
from common.wire.convert import (
    MAX_REASON_CHARACTERS,
    MAX_WINDOW,
    NO_SEQUENCE,
    Acknowledgement,
    Acknowledgements,
    AckStatus,
    FrameMessage,
    ServerMessages,
)
from common.wire.datagrams import Datagrams
from common.wire.stream import MessageStream, StreamBroken
from receiver.link.frame_handler import Arrival

WINDOW = 12
"""Most frames of a sender that are not handled."""

# Two clocks are read one after the other: they may differ by this much without a step.
_CLOCK_STEP_US = 1000

# For the next message, which may be late, and shorter than a sender would notice when none comes. A link that becomes
# thin spreads the messages that are under way: the median of the last spacings counts.
_LEAST_WAIT_S, _LONGEST_WAIT_S = 0.15, 2.0
_WAIT_IN_SPACINGS, _SPACINGS = 2.5, 8
# As many answers as one message has in steady state.
_REPEATED = 5
_MAY_WAIT = (AckStatus.DECODED, AckStatus.LATE)


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
    """Queue between the reader and the worker of a stream.

    Args:
        window: most messages that are not handled.
        lossy: above it the oldest one that waits is dropped, instead of ending the stream: a sender that has given
            frames up as lost sends others, and all may arrive at once.
    """

    def __init__(self, window: int, clock: Clock, *, lossy: bool = False) -> None:
        self._window, self._clock, self._lossy = window, clock, lossy
        self._queue: asyncio.Queue[ReceivedMessage | None] = asyncio.Queue()
        self._unacknowledged = 0
        self._frames_waiting = 0
        self._last: ReceivedMessage | None = None
        # Concerns the frame that was taken last: all others that have arrived are newer.
        self._superseded = asyncio.Event()

    def put(self, frame: FrameMessage | None, reason: str = "") -> None:
        """Appends a message; see `ReceivedMessage`. Raises StreamBroken if too many frames are unacknowledged."""
        if self._unacknowledged >= self._window and not (self._lossy and self._drop_oldest()):
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

    def _drop_oldest(self) -> bool:
        """Removes the message that has waited longest; returns whether there is one."""
        if self._queue.empty():
            return False
        dropped = self._queue.get_nowait()
        self._unacknowledged -= 1
        self._frames_waiting -= dropped is not None and dropped.frame is not None
        return True

    async def take(self) -> ReceivedMessage | None:
        """Waits for the next message and removes it; None at the end."""
        message = await self._queue.get()
        if message is not None and message.frame is not None:
            self._frames_waiting -= 1
            if not self._frames_waiting:
                self._superseded.clear()
        return message

    @property
    def waiting(self) -> bool:
        """Whether a frame waits."""
        return self._frames_waiting > 0

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


class Acknowledger:
    """The answers of one stream, in the order of `answer`; `run` runs beside it.

    Args:
        datagrams: the answers may be lost, so each message repeats the last ones of the message before.
    """

    def __init__(self, stream: MessageStream, clock: Clock, datagrams: Datagrams | None = None) -> None:
        self._stream, self._clock, self._lossy = stream, clock, datagrams is not None
        self._messages = ServerMessages(datagrams)
        self._repeated: list[tuple[ReceivedMessage, AckStatus, str]] = []
        self._waiting: list[tuple[ReceivedMessage, AckStatus, str]] = []
        self._spacings_s: deque[float] = deque(maxlen=_SPACINGS)
        self._wait_until_s = 0.0
        self._waits = asyncio.Event()

    async def answer(self, message: ReceivedMessage, status: AckStatus, reason: str) -> None:
        """Answers a frame that was handled, now or with the next one. Raises StreamBroken if the stream has ended."""
        self._spacings_s.append(message.spacing_us / 1e6)
        wait_s = min(max(_WAIT_IN_SPACINGS * median_low(self._spacings_s), _LEAST_WAIT_S), _LONGEST_WAIT_S)
        self._wait_until_s = self._clock.monotonic() + wait_s
        self._waiting.append((message, status, reason))
        may_wait = message.frame is not None and message.frame.may_wait and status in _MAY_WAIT
        if may_wait and len(self._waiting) < MAX_WINDOW:
            self._waits.set()
        else:
            await self.flush()

    async def flush(self) -> None:
        """Sends the answers that wait. Raises StreamBroken if the stream has ended."""
        self._waits.clear()
        if self._waiting:
            now_s, waiting, self._waiting = self._clock.monotonic(), self._waiting, []
            answers = [_acknowledgement(*answer, now_s) for answer in (*self._repeated, *waiting)]
            message = Acknowledgements(tuple(answers[-MAX_WINDOW:]))
            if self._lossy:
                self._repeated = waiting[-_REPEATED:]
            await self._stream.write(self._messages.encode(message), droppable=self._lossy)

    async def run(self) -> None:
        """Sends answers whose next one does not come, until cancelled or the stream ends."""
        try:
            while True:
                await self._waits.wait()
                left_s = self._wait_until_s - self._clock.monotonic()
                if left_s > 0:
                    await asyncio.sleep(left_s)
                else:
                    await self.flush()
        except StreamBroken:
            return  # those who read and write the stream notice too


def _acknowledgement(message: ReceivedMessage, status: AckStatus, reason: str, now_s: float) -> Acknowledgement:
    return Acknowledgement(
        sequence=NO_SEQUENCE if message.frame is None else message.frame.sequence,
        status=status,
        received_us=message.received_us,
        spacing_us=message.spacing_us,
        hold_us=max(int((now_s - message.arrival.at_s) * 1e6), 0),
        reason=reason[:MAX_REASON_CHARACTERS],
    )
