"""Answers the frames of one stream; an answer that may wait leaves with the next one.

A message costs about a hundred bytes of headers on the wire, and an answer ten: two answers in one message cost little
more than one.
"""

import asyncio

from common.clock import Clock
from common.wire.convert import (
    MAX_REASON_CHARACTERS,
    MAX_WINDOW,
    NO_SEQUENCE,
    Acknowledgement,
    Acknowledgements,
    AckStatus,
    ServerMessages,
)
from common.wire.stream import MessageStream, StreamBroken
from receiver.link.receive_queue import ReceivedMessage

# Longer than between two frames, and shorter than a sender would notice when no further frame comes.
_LONGEST_WAIT_S = 0.05
_MAY_WAIT = (AckStatus.DECODED, AckStatus.LATE)


class Acknowledger:
    """The answers of one stream, in the order of `answer`; `run` runs beside it."""

    def __init__(self, stream: MessageStream, clock: Clock) -> None:
        self._stream, self._clock = stream, clock
        self._messages = ServerMessages()
        self._waiting: list[tuple[ReceivedMessage, AckStatus, str]] = []
        self._waiting_since_s = 0.0
        self._waits = asyncio.Event()

    async def answer(self, message: ReceivedMessage, status: AckStatus, reason: str) -> None:
        """Answers a frame that was handled, now or with the next one. Raises StreamBroken if the stream has ended."""
        if not self._waiting:
            self._waiting_since_s = self._clock.monotonic()
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
            answers = tuple(_acknowledgement(*answer, now_s) for answer in waiting)
            await self._stream.write(self._messages.encode(Acknowledgements(answers)))

    async def run(self) -> None:
        """Sends answers whose next one does not come, until cancelled or the stream ends."""
        try:
            while True:
                await self._waits.wait()
                left_s = self._waiting_since_s + _LONGEST_WAIT_S - self._clock.monotonic()
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
