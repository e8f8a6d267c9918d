"""The sender's end of the link: a window of unacknowledged frames over a stream that may break at any moment."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

from common.blobs import Blob
from common.clock import SYSTEM_CLOCK, Clock
from common.errors import PeerError
from common.frames import LabelFrame
from common.wire.convert import (
    Acknowledgement,
    AckStatus,
    ChunkAck,
    Drain,
    FrameMessage,
    Heartbeat,
    Hello,
    Welcome,
    decode_server,
    encode_client,
)
from common.wire.stream import StreamBroken
from sender.congestion.congestion_window import CongestionWindow
from sender.congestion.samples import LinkSample
from sender.link.background_transfer import BackgroundTransfer, NoBackgroundTransfer, Pacer
from sender.link.configuration import LinkConfig
from sender.link.encoder import FrameEncoder
from sender.link.keepalive.keepalive import Keepalive
from sender.link.keepalive.liveness import Liveness
from sender.link.observer import Fate, LinkObserver
from sender.link.send_window import InFlight, SendWindow
from sender.link.transport.backoff import Backoff
from sender.link.transport.handshake import ClientStream, StreamOpener, open_link
from sender.link.transport.standby_connection import StandbyConnection
from sender.link.transport.transport import Transport

logger = logging.getLogger(__name__)

_FIRST_BACKOFF_S = 0.1
# A receiver that comes back is found within this.
_BACKOFF_CAP_S = 1.0
_DRAIN_S = 5.0
# A receiver that refuses every frame, key frames included, will not change its mind.
_REJECTIONS_IN_A_ROW = 8
# The receiver ended the stream because of what we sent: to connect again would only repeat it.
_FATAL_CODES = ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "UNIMPLEMENTED", "UNAUTHENTICATED", "PERMISSION_DENIED")


class LinkClient:
    """One session with one receiver.

    Live: `send` never waits, and while the window is full the newest frame replaces the one that waits. Otherwise
    `send` waits for room, and no frame is lost: what was not acknowledged when a stream broke is encoded anew and sent
    again on the next one, from where the receiver's last decoded frame stands.

    Errors of the background (receiver gone for good, refusing) come out of `send` and `drain`.

    Args:
        hello: session id, codec, model; the client fills in the fields about resuming.
        encoder: called when a frame leaves, never before.
        observer: hears of everything for metrics and rate control.
        pace: how fast blobs may go; they do not without.
        transport: opens streams; over gRPC, open on the loopback and encrypted elsewhere, if not given.
    """

    def __init__(
        self,
        config: LinkConfig,
        hello: Hello,
        encoder: FrameEncoder,
        *,
        observer: LinkObserver | None = None,
        pace: Pacer | None = None,
        clock: Clock = SYSTEM_CLOCK,
        rng: random.Random | None = None,
        transport: StreamOpener | None = None,
    ) -> None:
        self._config = config
        self._hello = hello
        self._encoder = encoder
        self._observer = observer or LinkObserver()
        self._clock = clock
        self._backoff = Backoff(_FIRST_BACKOFF_S, _BACKOFF_CAP_S, rng or random.Random())
        self._transport: StreamOpener = transport or Transport()
        self._standby = StandbyConnection(lambda: self._transport.reach(config.peer))
        self._congestion_window = CongestionWindow(config.window)
        self._window = SendWindow(self._congestion_window.frames, live=hello.live)
        self._stream: ClientStream | None = None
        self._stopping = False
        self._receiver_drains = False
        self._failure: Exception | None = None
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._bulk = BackgroundTransfer(pace or NoBackgroundTransfer())
        self._sent_before: set[int] = set()
        self._last_acknowledged: int | None = None
        self._last_sent_at_s: float | None = None
        self._rejections = 0
        self._welcome: Welcome | None = None
        interval_s = config.heartbeat_interval_ms / 1e3
        self._keepalive = Keepalive(interval_s, self._observer, clock)
        self._liveness = Liveness(
            interval_s,
            config.heartbeats_missed,
            self._standby,
            lost=self._on_lost,
            found=self._on_found,
        )

    async def connect(self) -> Welcome:
        """Connects and starts sending.

        Raises:
            PeerError: unreachable within the configured time, or not a receiver of our version and model.
        """
        stream, welcome = await self._open(self._config.connect_timeout, patient=False)
        self._begin(stream, welcome)
        self._task = asyncio.create_task(self._keep_connected(stream), name="link")
        return welcome

    async def send(self, frame: LabelFrame) -> None:
        """Gives a frame to the link; returns at once if live, else when there is room for it.

        Raises:
            PeerError: the receiver is gone for good or refuses what we send.
        """
        await self._until(lambda: self._window.has_room)
        if self._hello.live:
            self._congestion_window.offered(self._clock.monotonic_ms())
        replaced = self._window.offer(frame)
        if replaced is not None:
            self._end(replaced, Fate.SUPERSEDED)
        self._changed.set()

    def post(self, blob: Blob) -> None:
        """Gives something bulky to the link, which sends it in the gaps between frames, or never if there are none.

        Raises:
            ValueError: it is empty or too large.
        """
        self._bulk.post(blob)

    async def watch(self) -> None:
        """Waits until the link ends, and says why.

        Raises:
            PeerError: always: the receiver is gone for good or refuses what we send, or the link was closed.
        """
        await self._until(lambda: False)

    async def drain(self) -> None:
        """Waits until every frame has met its fate, tells the receiver that nothing follows, and closes.

        Raises:
            PeerError: the receiver is gone for good or refuses what we send.
        """
        try:
            await self._until(lambda: self._window.idle)
            await self._send_drain()
        finally:
            await self.close()

    async def close(self) -> None:
        """Ends the session at once; frames in flight may be lost. Safe to call twice."""
        self._stopping = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._standby.dismiss()

    async def _until(self, holds: Callable[[], bool]) -> None:
        while True:
            if self._failure is not None:
                raise self._failure
            if self._task is None or self._stopping:
                raise PeerError("the link is not connected")
            if holds():
                return
            # No await between the test and the wait, so that no change can slip through.
            self._changed.clear()
            await self._changed.wait()

    async def _send_drain(self) -> None:
        self._stopping = True
        if self._stream is None or self._task is None:
            return
        try:
            async with asyncio.timeout(_DRAIN_S):
                await self._stream.write(encode_client(Drain()))
                await asyncio.wait([self._task])
        except (StreamBroken, TimeoutError) as error:
            logger.info("everything was acknowledged, but the receiver did not say goodbye: %s", error)

    async def _keep_connected(self, stream: ClientStream) -> None:
        try:
            while True:
                reason = await self._serve(stream)
                if self._stopping:
                    return
                self._liveness.lose(reason)
                stream, welcome = await self._open(self._config.reconnect_timeout, patient=True)
                self._begin(stream, welcome)
                self._resume(welcome)
        except Exception as error:  # whatever it is, `send` and `drain` must hear of it
            self._failure = error
        finally:
            self._changed.set()

    async def _open(self, timeout_s: float, *, patient: bool) -> tuple[ClientStream, Welcome]:
        resume_from = self._window.oldest_unacknowledged
        hello = replace(
            self._hello, resume=patient or self._hello.resume, resume_from=0 if resume_from is None else resume_from
        )
        return await open_link(
            self._config.peer,
            hello,
            timeout_s=timeout_s,
            backoff=self._backoff,
            transport=self._transport,
            standby=self._standby,
            patient=patient,
        )

    def _begin(self, stream: ClientStream, welcome: Welcome) -> None:
        self._stream = stream
        self._last_sent_at_s = None
        self._receiver_drains = False
        self._welcome = welcome
        self._liveness.begin()
        self._keepalive.restart()
        self._congestion_window.restart(min(self._config.window, welcome.window))
        self._window.resize(self._congestion_window.frames)
        self._bulk.restart(anew=not welcome.resumed)
        self._observer.connected(welcome)

    def _resume(self, welcome: Welcome) -> None:
        """Brings window and encoder to where the receiver stands."""
        resumption = self._window.resume(welcome.next_sequence)
        for frame in resumption.delivered:
            self._end(frame, Fate.ACKNOWLEDGED)
        for frame in resumption.superseded:
            self._end(frame, Fate.SUPERSEDED)
        # Frames that were encoded before and lost must be encoded anew, and an encoder only goes forward: without a
        # reset it may go on just when there are none, from a state that both ends have.
        known = {frame.sequence for frame in resumption.delivered} | {self._last_acknowledged}
        if welcome.resumed and welcome.decodable_from in known and not resumption.lost:
            self._encoder.acknowledge(welcome.decodable_from)
            self._last_acknowledged = welcome.decodable_from
        else:
            self._encoder.reset()
            self._last_acknowledged = None
        logger.info("resumed at frame %d", welcome.next_sequence)

    async def _serve(self, stream: ClientStream) -> str:
        """Runs one stream to its end and says why it ended."""
        work: tuple[Awaitable[None], ...] = (
            self._read(stream),
            self._pump(stream),
            self._keepalive.beat(stream),
            self._keepalive.probe(stream),
            self._liveness.watch(),
        )
        tasks = [asyncio.ensure_future(each) for each in work]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            return "the receiver ended the stream"
        except StreamBroken as error:
            if error.code in _FATAL_CODES and not self._stopping:
                raise PeerError(f"the receiver refuses to go on: {error.reason}") from error
            return str(error)
        finally:
            self._stream = None
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await stream.close()

    async def _read(self, stream: ClientStream) -> None:
        while (data := await stream.read()) is not None:
            self._keepalive.heard()
            message = decode_server(data)
            if isinstance(message, Acknowledgement):
                self._keepalive.answered()
                said_ns = self._keepalive.on_our_clock(message.server_sent_ns)
                self._liveness.heard(message.client_sent_ns, said_ns, self._wall_ns())
                self._on_acknowledgement(message)
            elif isinstance(message, Heartbeat):
                self._liveness.heard(
                    message.sent_ns, self._keepalive.on_our_clock(message.received_ns), self._wall_ns()
                )
                self._keepalive.echoed(message)
            elif isinstance(message, ChunkAck):
                self._bulk.received(message)
            elif isinstance(message, Drain):
                self._receiver_drains = True

    async def _pump(self, stream: ClientStream) -> None:
        while True:
            await self._until_sendable()
            frame = self._window.ready()
            if frame is not None:
                message = encode_client(self._encode(frame))
                await stream.write(message)
                self._changed.set()
                self._keepalive.frame(len(message))
                await self._send_chunks(stream)

    async def _send_chunks(self, stream: ClientStream) -> None:
        for chunk in self._bulk.chunks(self._clock.monotonic_ms()):
            await stream.write(encode_client(chunk))
            self._observer.blob_bytes_sent(len(chunk.data))

    async def _until_sendable(self) -> None:
        while self._receiver_drains or self._window.ready() is None:
            self._changed.clear()
            await self._changed.wait()

    def _encode(self, frame: LabelFrame) -> FrameMessage:
        encoded = self._encoder.encode(frame)
        now_s = self._clock.monotonic()
        spacing_ms = None if self._last_sent_at_s is None else (now_s - self._last_sent_at_s) * 1e3
        self._last_sent_at_s = now_s
        self._window.sent(InFlight(frame, now_s, spacing_ms, self._window.held_back))
        self._observer.sent(frame, encoded, again=frame.sequence in self._sent_before)
        self._sent_before.add(frame.sequence)
        captured_ns = int(frame.captured_at * 1e9)
        return FrameMessage(frame.sequence, encoded.payload, captured_ns, self._wall_ns(), encoded.key)

    def _on_lost(self, reason: str) -> None:
        logger.warning("lost the receiver (%s); trying to resume", reason)
        self._observer.disconnected(reason)

    def _on_found(self) -> None:
        logger.warning("the receiver was silent, but is there")
        assert self._welcome is not None
        self._observer.connected(self._welcome)

    def _on_acknowledgement(self, ack: Acknowledgement) -> None:
        if ack.want_key:
            self._encoder.reset()
        if ack.status is AckStatus.REJECTED:
            self._on_rejection(ack)
        else:
            self._on_delivery(ack)
        self._changed.set()

    def _on_delivery(self, ack: Acknowledgement) -> None:
        flight = self._window.acknowledged(ack.sequence)
        if flight is None:
            logger.info("acknowledgement for frame %d, which is not in flight", ack.sequence)
            return
        self._rejections = 0
        # A duplicate was decoded as it was encoded some earlier time; only fresh decodes are a common ground.
        if ack.status is AckStatus.DECODED:
            self._encoder.acknowledge(ack.sequence)
            self._last_acknowledged = ack.sequence
        sample = self._measure(ack, flight)
        self._window.resize(self._congestion_window.update(sample, self._clock.monotonic_ms()))
        self._keepalive.acknowledged(sample)
        self._observer.acknowledged(flight.frame, sample)
        self._end(flight.frame, Fate.ACKNOWLEDGED)

    def _on_rejection(self, ack: Acknowledgement) -> None:
        flight = self._window.rejected(ack.sequence)
        self._rejections += 1
        logger.warning("the receiver rejected frame %d: %s", ack.sequence, ack.reason)
        if flight is not None and self._hello.live:
            self._end(flight.frame, Fate.REJECTED)
        if self._rejections >= _REJECTIONS_IN_A_ROW:
            raise PeerError(f"the receiver rejected {self._rejections} frames in a row: {ack.reason}")

    def _end(self, frame: LabelFrame, fate: Fate) -> None:
        self._sent_before.discard(frame.sequence)
        self._observer.ended(frame, fate)

    def _measure(self, ack: Acknowledgement, flight: InFlight) -> LinkSample:
        hold_ms = (ack.server_sent_ns - ack.server_received_ns) / 1e6
        total_ms = (self._clock.monotonic() - flight.sent_at_s) * 1e3
        return LinkSample(
            sequence=ack.sequence,
            message_bytes=ack.received_bytes,
            round_trip_time_ms=max(total_ms - hold_ms, 0.0),
            hold_ms=hold_ms,
            sent_spacing_ms=flight.sent_spacing_ms,
            arrival_spacing_ms=ack.arrival_spacing_ns / 1e6 if ack.arrival_spacing_ns else None,
            waited=flight.waited,
            client_sent_ns=ack.client_sent_ns,
            server_received_ns=ack.server_received_ns,
            server_sent_ns=ack.server_sent_ns,
            client_received_ns=self._wall_ns(),
        )

    def _wall_ns(self) -> int:
        return int(self._clock.wall() * 1e9)
