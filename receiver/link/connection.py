"""One stream of a sender: reads its messages, has them handled in turn, and answers."""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, replace
from statistics import median_low

from common.clock import Clock
from common.errors import BodywireError, ChecksumMismatch, MalformedPacket, MissingReference, OutputError, WireError
from common.io.logs import RepeatedLines
from common.io.tasks import cancel
from common.wire.convert import (
    MAX_REASON_CHARACTERS,
    MAX_WINDOW,
    NO_SEQUENCE,
    Acknowledgement,
    Acknowledgements,
    AckStatus,
    Chunk,
    ChunkAck,
    ClientMessages,
    Drain,
    FrameMessage,
    Heartbeat,
    ServerMessages,
    Welcome,
    encode_server,
)
from common.wire.datagrams import Datagrams
from common.wire.frame_messages import SenderReport
from common.wire.stream import CountedStream, MessageStream, StreamBroken
from receiver.link.session import Arrival, FrameHandler, FrameOutcome, RateLimiter, SenderClock, Session

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


logger = logging.getLogger(__name__)

# In a row, which end the stream.
_REJECTIONS = 8
# A silent sender's stream is kept for so long: a stalled link still delivers what it has queued.
_SILENCE_S = 12.5
# Silence is counted in so many polls instead of read from a clock: a pause of this process does not count as silence.
_POLLS = 25


def stream_failure(error: BodywireError) -> StreamBroken:
    """The end of a stream because this receiver has failed; senders learn nothing about its files."""
    if isinstance(error, OutputError):
        return StreamBroken("INTERNAL", "the receiver cannot write its output")
    return StreamBroken("INTERNAL", f"the receiver failed: {error}")


def end_level(error: BaseException | None) -> int:
    """The log level of a stream's end: the pipeline logs once, for all streams, that the output cannot be written."""
    return logging.DEBUG if error is not None and isinstance(error.__cause__, OutputError) else logging.INFO


class Connection:
    """Serves one stream after its handshake; uses a session that it has claimed, and releases it at the end.

    Reading continues while a frame is being reconstructed, so that heartbeats are echoed at once and arrival times are
    exact.  A sender that exceeds the window, or whose frames are rejected again and again, loses its stream.
    """

    def __init__(
        self,
        session: Session,
        stream: MessageStream,
        handler: FrameHandler,
        *,
        limiter: RateLimiter,
        lines: RepeatedLines,
        clock: Clock,
    ) -> None:
        self._session = session
        self._stream = CountedStream(stream, session.traffic, sends=False)
        self._handler = handler
        self._lines = lines
        self._clock = clock
        self._limiter = limiter
        lossy = stream.lossy and session.live
        datagrams = Datagrams() if lossy else None
        self._messages = ClientMessages(datagrams)
        self._queue = ReceiveQueue(WINDOW, clock, lossy=lossy)
        self._acknowledger = Acknowledger(self._stream, clock, datagrams)
        self._rejected_in_a_row = 0
        self._stop_reading = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._handling = False
        self._abandoned: StreamBroken | None = None

    @property
    def busy(self) -> bool:
        """Whether frames that have arrived are not handled."""
        return self._handling or self._queue.waiting

    async def run(self, welcome: Welcome) -> bool:
        """Serves until the sender has drained (True), or `drain` was called. Raises StreamBroken at any other end."""
        self._worker = worker = asyncio.create_task(self._work(), name="link worker")
        worker.add_done_callback(self._release)
        reader = asyncio.create_task(self._read(), name="link reader")
        stop = asyncio.create_task(self._stop_reading.wait())
        silence = asyncio.create_task(self._until_silent(), name="link silence detector")
        flush = asyncio.create_task(self._acknowledger.run(), name="link acknowledger")
        watch = self._session.traffic.watch(self._stream.connections)
        traffic = asyncio.create_task(watch, name="link traffic")
        try:
            await self._stream.write(encode_server(welcome))
            await asyncio.wait((reader, worker, stop, silence), return_when=asyncio.FIRST_COMPLETED)
            if silence.done():
                silence.result()
            drained = reader.done() and reader.result()
            self._queue.finish()
            await asyncio.wait([worker])
            if self._abandoned:
                raise self._abandoned
            worker.result()
            if not drained:
                # The sender keeps unacknowledged frames and sends them again on the next stream.
                await self._stream.write(encode_server(Drain()))
            return drained
        finally:
            # The present frame is handled to its end: the session's state must stay consistent.
            self.abandon(StreamBroken("CANCELLED", "the stream has ended"))
            await cancel([reader, stop, silence, flush, traffic])

    def _release(self, worker: asyncio.Task[None]) -> None:
        self._handler.on_stream_end(self._session)
        self._session.release()
        if not worker.cancelled() and worker.exception() is not None:
            logger.debug("the last frame of a stream of %s failed", self._session.sender, exc_info=worker.exception())

    def abandon(self, reason: StreamBroken) -> None:
        """Releases the session after the present frame; `run` raises `reason`, and later arrivals are dropped."""
        self._abandoned = self._abandoned or reason
        self._queue.discard()
        self._stop_reading.set()
        if self._worker is not None and not self._handling:
            # It waits for a frame, or for a sender that does not read its acknowledgements.
            self._worker.cancel()

    def drain(self) -> None:
        """Takes no further frames, handles and acknowledges those that have arrived, and ends the stream."""
        self._stop_reading.set()

    async def _read(self) -> bool:
        """Reads messages; returns True when the sender drains."""
        while True:
            data = await self._stream.read()
            if data is None:
                raise StreamBroken("CANCELLED", "the sender ended the stream")
            await self._limiter.acquire(len(data))
            self._session.last_message_s = self._clock.monotonic()
            received_ns = self._wall_ns()
            try:
                message = self._messages.decode(data)
            except WireError as error:
                self._queue.put(None, str(error))
                continue
            if isinstance(message, Drain):
                return True
            if isinstance(message, Heartbeat):
                if message.clock_error_ns:
                    self._session.clock = SenderClock(message.clock_offset_ns / 1e9, message.clock_error_ns / 1e9)
                echo = encode_server(replace(message, received_ns=received_ns, padding=b""))
                await self._stream.write(echo, droppable=True)
            elif isinstance(message, FrameMessage):
                self._queue.put(message)
            elif isinstance(message, Chunk):
                await self._take(message)
            elif isinstance(message, SenderReport):
                self._session.report = message
            else:
                self._queue.put(None, "a second Hello on one stream")

    async def _until_silent(self) -> None:
        """Waits until nothing has arrived for too long. Always raises StreamBroken."""
        silent_polls = 0
        while silent_polls < _POLLS:
            before_s = self._session.last_message_s
            await asyncio.sleep(_SILENCE_S / _POLLS)
            silent_polls = silent_polls + 1 if self._session.last_message_s == before_s else 0
        raise StreamBroken("DEADLINE_EXCEEDED", f"no message in {_SILENCE_S:g} s")

    async def _take(self, chunk: Chunk) -> None:
        try:
            blob = self._session.blobs.add(chunk)
        except MalformedPacket as error:
            raise StreamBroken("INVALID_ARGUMENT", str(error)) from error
        except ChecksumMismatch as error:
            blob = None
            self._log("blob", f"dropped a blob of {self._session.sender}: {error}")
        if blob is not None:
            try:
                self._handler.on_blob(self._session, blob)
            except WireError as error:
                self._log("blob", f"dropped a blob ({blob.kind}) of {self._session.sender}: {error}")
        # A blob that was dropped is acknowledged too: sent again it would be no better.
        await self._stream.write(encode_server(ChunkAck(chunk.blob, chunk.offset + len(chunk.data))))

    def _log(self, kind: str, text: str) -> None:
        self._lines.write(logging.WARNING, (kind, self._session.account), text)

    async def _work(self) -> None:
        while (message := await self._queue.take()) is not None:
            status, reason = await self._handle(message)
            self._queue.acknowledged()
            if self._abandoned:
                return
            await self._acknowledger.answer(message, status, reason)
            if self._rejected_in_a_row >= _REJECTIONS:
                raise StreamBroken("INVALID_ARGUMENT", f"{self._rejected_in_a_row} frames in a row rejected: {reason}")
            if status is AckStatus.REJECTED and not self._session.live:
                # What is in flight behind it must not be handled before it; the next stream goes on with it.
                raise StreamBroken("ABORTED", f"a message was rejected: {reason}")
        await self._acknowledger.flush()

    async def _handle(self, message: ReceivedMessage) -> tuple[AckStatus, str]:
        frame = message.frame
        if frame is None:
            self._rejected_in_a_row += 1
            self._handler.on_unused(self._session, frame)
            return AckStatus.REJECTED, message.reason
        handled = [self._session.has_handled(sequence) for sequence in frame.sequences]
        if all(handled):
            self._handler.on_unused(self._session, frame)
            return AckStatus.DUPLICATE, ""
        self._handling = True
        try:
            if any(handled):
                raise MalformedPacket("a bundle repeats frames that were handled")
            outcome = await self._handler.on_frame(self._session, frame, message.arrival)
        except WireError as error:
            # Behind a lost frame come those that the sender has predicted from it meanwhile.
            if not (self._session.live and isinstance(error, MissingReference)):
                self._rejected_in_a_row += 1
                self._log("frame", f"frame {frame.sequence} of {self._session.sender} rejected: {error}")
            return AckStatus.REJECTED, str(error)
        except BodywireError as error:
            raise stream_failure(error) from error
        finally:
            self._handling = False
        self._rejected_in_a_row = 0
        for sequence in frame.sequences:
            self._session.handled(sequence)
        return AckStatus.LATE if outcome is FrameOutcome.LATE else AckStatus.DECODED, ""

    def _wall_ns(self) -> int:
        return int(self._clock.wall() * 1e9)
