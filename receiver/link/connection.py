"""One stream of one session: reads all the time, handles frames one after the other, acknowledges each."""

import asyncio
import logging
from dataclasses import dataclass, replace

from common.clock import Clock
from common.errors import BodywireError, WireError
from common.wire.convert import (
    MAX_REASON_CHARACTERS,
    NO_SEQUENCE,
    Acknowledgement,
    AckStatus,
    Chunk,
    Drain,
    FrameMessage,
    Heartbeat,
    Welcome,
    decode_client,
    encode_server,
)
from common.wire.stream import MessageStream, StreamBroken
from receiver.link.session import FrameHandler, SenderClock, Session

logger = logging.getLogger(__name__)

# Looks for a message, in the time after which a sender that says nothing counts as gone.
_LOOKS = 10
# Its stream stays for so many of those times: a link that stood still brings what it holds.
_STAYS = 10


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A message that wants an acknowledgement; `frame` is None if it was too broken to read."""

    frame: FrameMessage | None
    reason: str
    received_ns: int
    spacing_ns: int
    message_bytes: int


class Connection:
    """Serves one stream after its handshake, whose session it has claimed and lets go when it is done.

    Reading goes on while a frame is being reconstructed, so that heartbeats are answered and arrival times are true.

    Args:
        window: how many unacknowledged frames the sender may have; more end the stream.
        rejections: so many rejected frames in a row end the stream.
        silence_s: a sender that says nothing for so long counts as gone (`Session.silent`); its stream ends after ten
            times as long, its session stays.
    """

    def __init__(
        self,
        session: Session,
        stream: MessageStream,
        handler: FrameHandler,
        *,
        window: int,
        rejections: int,
        silence_s: float,
        clock: Clock,
    ) -> None:
        self._session = session
        self._stream = stream
        self._handler = handler
        self._window = window
        self._rejections = rejections
        self._silence_s = silence_s
        self._clock = clock
        self._arrivals: asyncio.Queue[_Arrival | None] = asyncio.Queue()
        self._unacknowledged = 0
        self._rejected_in_a_row = 0
        self._last_arrival_s: float | None = None
        self._stop_reading = asyncio.Event()
        self._abandoned = False
        self._heard = False

    async def run(self, welcome: Welcome) -> bool:
        """Welcomes the sender and serves until the stream ends.

        Returns:
            True if the sender drained: the session is over.

        Raises:
            StreamBroken: the stream ended in any other way, or shall now, with its code and reason.
        """
        worker = asyncio.create_task(self._work(), name="link worker")
        worker.add_done_callback(self._let_go)
        reader = asyncio.create_task(self._read(), name="link reader")
        stop = asyncio.create_task(self._stop_reading.wait())
        silence = asyncio.create_task(self._until_silent(), name="link watch")
        try:
            await self._stream.write(encode_server(welcome))
            await asyncio.wait((reader, worker, stop, silence), return_when=asyncio.FIRST_COMPLETED)
            if silence.done():
                raise StreamBroken("DEADLINE_EXCEEDED", f"no message in {_STAYS * self._silence_s:g} s")
            drained = reader.done() and reader.result()
            self._arrivals.put_nowait(None)
            await asyncio.shield(worker)
            if self._abandoned:
                raise StreamBroken("ABORTED", "the session goes on in another stream")
            if not drained:
                # The sender keeps what was not acknowledged and takes it to the next stream.
                await self._stream.write(encode_server(Drain()))
            return drained
        finally:
            # A frame that is being handled is handled to its end: the session's state must not be torn.
            self.abandon()
            for task in (reader, stop, silence):
                task.cancel()
            await asyncio.gather(reader, stop, silence, return_exceptions=True)

    def _let_go(self, worker: asyncio.Task[None]) -> None:
        self._session.let_go()
        if not worker.cancelled() and worker.exception() is not None:
            logger.info("stream of %s ended: %s", self._session.sender, worker.exception())

    def abandon(self) -> None:
        """Lets go of the session after the frame in hand; what has arrived beyond it is dropped, unacknowledged."""
        self._abandoned = True
        while not self._arrivals.empty():
            self._arrivals.get_nowait()
        self._arrivals.put_nowait(None)
        self._stop_reading.set()

    def drain(self) -> None:
        """Takes no further frames, handles and acknowledges what has arrived, and ends the stream."""
        self._stop_reading.set()

    async def _read(self) -> bool:
        """Returns whether the sender drained."""
        while True:
            data = await self._stream.read()
            if data is None:
                raise StreamBroken("CANCELLED", "the sender hung up")
            self._hear()
            received_ns = self._wall_ns()
            try:
                message = decode_client(data)
            except WireError as error:
                self._arrive(None, str(error), len(data))
                continue
            if isinstance(message, Drain):
                return True
            if isinstance(message, Heartbeat):
                if message.clock_error_ns:
                    self._session.clock = SenderClock(message.clock_offset_ns / 1e9, message.clock_error_ns / 1e9)
                await self._stream.write(encode_server(replace(message, received_ns=received_ns, padding=b"")))
            elif isinstance(message, FrameMessage):
                self._arrive(message, "", len(data))
            elif isinstance(message, Chunk):
                await self._take(message)
            else:
                self._arrive(None, "a second greeting in one stream", len(data))

    async def _take(self, chunk: Chunk) -> None:
        try:
            chunk_ack, blob = self._session.blobs.add(chunk)
        except WireError as error:
            raise StreamBroken("INVALID_ARGUMENT", str(error)) from error
        if blob is not None:
            try:
                self._handler.on_blob(self._session, blob)
            except WireError as error:
                logger.warning("a blob (%s) of %s is dropped: %s", blob.kind, self._session.sender, error)
        await self._stream.write(encode_server(chunk_ack))

    def _hear(self) -> None:
        self._heard = True
        self._session.last_heard_s = self._clock.monotonic()
        if self._session.silent:
            self._session.silent = False
            logger.warning("%s was silent, but is there", self._session.sender)

    async def _until_silent(self) -> None:
        """Counts silent moments instead of reading a clock: when this process was held up, so was the count."""
        silent = 0
        while silent < _STAYS * _LOOKS:
            self._heard = False
            await asyncio.sleep(self._silence_s / _LOOKS)
            silent = 0 if self._heard else silent + 1
            if silent == _LOOKS:
                self._session.silent = True
                logger.warning("no message from %s in %g s", self._session.sender, self._silence_s)

    def _arrive(self, frame: FrameMessage | None, reason: str, message_bytes: int) -> None:
        if self._unacknowledged >= self._window:
            raise StreamBroken("INVALID_ARGUMENT", f"more than {self._window} unacknowledged frames")
        now_s, last_s = self._clock.monotonic(), self._last_arrival_s
        self._last_arrival_s = now_s
        # 0 says "the first"; no clock of ours resolves frames closer than 1 ns.
        spacing_ns = 0 if last_s is None else max(int((now_s - last_s) * 1e9), 1)
        self._unacknowledged += 1
        self._arrivals.put_nowait(_Arrival(frame, reason, self._wall_ns(), spacing_ns, message_bytes))

    async def _work(self) -> None:
        while (arrival := await self._arrivals.get()) is not None:
            status, reason = await self._judge(arrival)
            self._unacknowledged -= 1
            if self._abandoned:
                return
            await self._stream.write(encode_server(self._acknowledge(arrival, status, reason)))
            if self._rejected_in_a_row >= self._rejections:
                raise StreamBroken("INVALID_ARGUMENT", f"{self._rejected_in_a_row} frames in a row rejected: {reason}")

    async def _judge(self, arrival: _Arrival) -> tuple[AckStatus, str]:
        frame = arrival.frame
        if frame is None:
            self._rejected_in_a_row += 1
            self._handler.on_unused(self._session, frame)
            return AckStatus.REJECTED, arrival.reason
        if self._session.has_handled(frame.sequence):
            self._handler.on_unused(self._session, frame)
            return AckStatus.DUPLICATE, ""
        try:
            await self._handler.on_frame(self._session, frame)
        except WireError as error:
            self._rejected_in_a_row += 1
            self._session.rejected(frame.sequence)
            logger.warning("frame %d of %s rejected: %s", frame.sequence, self._session.sender, error)
            return AckStatus.REJECTED, str(error)
        except BodywireError as error:
            raise StreamBroken("INTERNAL", f"the receiver cannot go on: {error}") from error
        self._rejected_in_a_row = 0
        self._session.handled(frame.sequence)
        return AckStatus.DECODED, ""

    def _acknowledge(self, arrival: _Arrival, status: AckStatus, reason: str) -> Acknowledgement:
        frame = arrival.frame
        return Acknowledgement(
            sequence=NO_SEQUENCE if frame is None else frame.sequence,
            status=status,
            decodable_from=self._session.decodable_from,
            client_sent_ns=0 if frame is None else frame.sent_ns,
            server_received_ns=arrival.received_ns,
            server_sent_ns=self._wall_ns(),
            arrival_spacing_ns=arrival.spacing_ns,
            received_bytes=arrival.message_bytes,
            want_key=status is AckStatus.REJECTED,
            reason=reason[:MAX_REASON_CHARACTERS],
        )

    def _wall_ns(self) -> int:
        return int(self._clock.wall() * 1e9)
