"""The sender's end of the link: one session with one receiver, over streams that may break at any moment.

send ─→ FrameQueue ─→ FrameDelivery ─ next message ─→ ┌────────┐
                           ▲  (SenderSession)         │ stream │ ◄─ Connector (backoff, standby connection)
                           └──── acknowledgements ─── └────────┘
                                         ▲      │
                              heartbeats │      │ echoes
                                         └ Keepalive ─→ loss of the stream
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence

from common.blobs import Blob
from common.clock import STEADY_CLOCK, Clock
from common.errors import MalformedPacket, PeerError
from common.frames import LabelFrame
from common.io.tasks import cancel
from common.wire.convert import (
    Acknowledgement,
    Acknowledgements,
    ChunkAck,
    ClientMessages,
    Drain,
    Heartbeat,
    Hello,
    ServerMessages,
    Welcome,
    encode_client,
)
from common.wire.datagrams import Datagrams
from common.wire.frame_messages import SenderReport
from common.wire.stream import CountedStream, MessageStream, StreamBroken
from common.wire.traffic import Traffic
from sender.config import LinkConfig
from sender.congestion.pacing import Meter
from sender.link.background_transfer import Pacer
from sender.link.connector import ClientStream, Connector, StreamOpener
from sender.link.delivery import FrameDelivery
from sender.link.frame_queue import FrameQueue
from sender.link.keepalive import Keepalive
from sender.link.session import FrameEncoder, LinkObserver, SenderSession
from sender.link.transport import Transport
from sender.spool import Spool

logger = logging.getLogger(__name__)

_DRAIN_TIMEOUT_S = 5.0
# First round trips that it may take to connect.
_ROUND_TRIPS = 4.0
_ENDED = "the receiver ended the stream"
# A stream without frames to acknowledge that has lasted as long was no failed attempt.
_LASTING_STREAM_S = 10.0
# The receiver ended the stream because of what we sent: connecting again would only repeat it.
_FATAL_CODES = ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "UNIMPLEMENTED", "UNAUTHENTICATED", "PERMISSION_DENIED")


class LinkClient:
    """One session with one receiver.

    Live: `send` never waits, and while the window is full the newest frame replaces the one that waits. Otherwise
    `send` waits for room, and no frame is lost: frames that were unacknowledged when a stream broke are encoded and
    sent again on the next one, from the receiver's last decoded frame on. With a spool, the receiver may be absent
    while that has room, and the sender may be killed and started again.

    `send` and `drain` raise errors of the background task (receiver unreachable, or refusing: PeerError; the
    spool cannot be used: OutputError), `send` and `post` a ValueError for a blob that is empty or too large.

    Args:
        config: its limits on the time to connect do not apply with a spool.
        hello: session id, codec, model; the client fills in the fields about resuming.
        encoder: called when a frame leaves, never earlier.
        observer: notified of everything, for metrics and rate control.
        pacer: how fast blobs may be sent; without one they are not sent.
        report: called behind each frame; returns a report that is due.
        spool: keeps the frames of a session that is not live until they are acknowledged; stays open.
        transport: opens streams; by default over gRPC, in the clear on the loopback and encrypted elsewhere.
        traffic: the account of the session's bytes.
        gathers: nobody waits for the frames, which then may wait for others to share a message.
        probes: something depends on the link's capacity, so that it may be measured (`LinkConfig.probe_kbit`).
    """

    def __init__(
        self,
        config: LinkConfig,
        hello: Hello,
        encoder: FrameEncoder,
        *,
        observer: LinkObserver | None = None,
        pacer: Pacer | None = None,
        report: Callable[[], SenderReport | None] = lambda: None,
        spool: Spool | None = None,
        clock: Clock = STEADY_CLOCK,
        rng: random.Random | None = None,
        transport: StreamOpener | None = None,
        gathers: bool = False,
        probes: bool = True,
        traffic: Traffic | None = None,
    ) -> None:
        config = config if spool is None else config.without_timeouts()
        self._waits_for_receiver = spool is None
        self._traffic = traffic or Traffic()
        self._observer = observer or LinkObserver()
        self._connector = Connector(
            config.peer,
            transport or Transport(),
            rng or random.Random(),
            connect_timeout_s=max(config.connect_timeout, _ROUND_TRIPS * config.round_trip_s),
            answer_s=config.round_trip_s,
            reconnect_timeout_s=config.reconnect_timeout,
        )
        meter = Meter(config.budget_bps)
        self._traffic.report_wire_bytes_to(lambda size, labels: meter.spend(size, clock.monotonic_ms(), labels=labels))
        self._meter, self._clock = meter, clock
        self._session = SenderSession(hello, encoder)
        self._queue = FrameQueue(config.window, live=hello.live, spool=spool)
        self._delivery = FrameDelivery(
            self._session, self._queue, config, self._observer, pacer, meter, clock, gathers=gathers
        )
        self._keepalive = Keepalive(
            config.heartbeat_interval_s,
            config.comparison_interval_s,
            self._connector.standby,
            self._observer,
            clock,
            self._delivery.background,
            self._delivery.let_frame_go,
            meter,
            config.probe_bps if probes else 0.0,
        )
        self._report = report
        self._began = False
        self._stream: ClientStream | None = None
        self._lossy = False
        self._datagrams: Datagrams | None = None
        self._stopping = False
        self._failure: Exception | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def outstanding(self) -> int:
        """Number of frames that were taken and are neither acknowledged nor dropped."""
        return self._queue.outstanding

    @property
    def window(self) -> int:
        """Number of frames that may be unacknowledged at present."""
        return self._queue.size

    async def connect(self) -> None:
        """Starts to connect and to send; without a spool, waits until there is a receiver.

        Raises:
            PeerError: unreachable within the configured time, or not a receiver of our version and model.
        """
        self._task = asyncio.create_task(self._keep_connected(), name="link")
        if self._waits_for_receiver:
            await self._until(lambda: self._began)

    async def send(self, frame: LabelFrame, ahead: Sequence[Blob] = ()) -> None:
        """Takes a frame; returns at once if live, else when there is room for it.

        Args:
            ahead: blobs that belong to the frame. They wait in memory, or are posted if there are too many.
        """
        await self._until(lambda: self._queue.has_room)
        await self._delivery.send(frame, ahead)

    def post(self, blob: Blob) -> None:
        """Takes a blob, which is sent in the gaps between frames, or never if there are none."""
        self._delivery.background.post(blob)

    async def drain(self) -> None:
        """Waits until every frame has met its fate, ends the session at the receiver, and closes."""
        self._delivery.finish()
        try:
            await self._until(lambda: self._began and not self._queue.outstanding)
            await self._send_drain()
        finally:
            await self.close()

    async def close(self) -> None:
        """Stops at once; unacknowledged frames are lost, or stay in the spool. Safe to call twice."""
        self._stopping = True
        if self._task is not None:
            await cancel([self._task])
        await self._connector.standby.dismiss()
        self._queue.close()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while True:
            if self._failure is not None:
                raise self._failure
            if self._task is None or self._stopping:
                raise PeerError("the link is not connected")
            if condition():
                return
            await self._queue.change()

    async def _send_drain(self) -> None:
        self._stopping = True
        if self._stream is None or self._task is None:
            return
        try:
            async with asyncio.timeout(_DRAIN_TIMEOUT_S):
                await self._stream.write(encode_client(Drain()))
                await asyncio.wait([self._task])
        except (StreamBroken, TimeoutError) as error:
            reason = str(error) or f"no answer in {_DRAIN_TIMEOUT_S:g} s"
            logger.info("every frame was acknowledged, but the receiver did not confirm the end: %s", reason)

    async def _keep_connected(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._meter.connecting(self._clock.monotonic_ms())
            stream = await self._begin(*await self._connector.connect(self._hello()))
            while True:
                began_s = loop.time()
                reason = await self._serve(stream)
                if reason == _ENDED:
                    # gRPC loses the reason of a stream that ends during a write; it is that of the stream before.
                    reason = self._connector.loss or _ENDED
                if self._stopping:
                    return
                if not self._queue.unsettled and loop.time() - began_s >= _LASTING_STREAM_S:
                    self._made_progress()
                self._keepalive.report_loss(reason)
                self._meter.connecting(self._clock.monotonic_ms())
                stream = await self._begin(*await self._connector.reconnect(self._hello(), reason))
        except Exception as error:  # any error: `send` and `drain` raise it
            self._failure = error
        finally:
            self._queue.notify()

    def _hello(self) -> Hello:
        return self._session.hello(self._queue.oldest_unacknowledged)

    def _made_progress(self) -> None:
        self._connector.made_progress()
        self._keepalive.made_progress()

    async def _begin(self, stream: ClientStream, welcome: Welcome) -> ClientStream:
        """Goes on with the session on a stream, and returns it; it is closed if that fails (`FrameDelivery.resume`)."""
        try:
            had_arrived = await self._delivery.resume(welcome)
        except BaseException:
            await stream.close()
            raise
        self._began = True
        self._stream = stream
        self._keepalive.restart(lossy=stream.lossy)
        self._lossy = stream.lossy and self._session.live
        self._datagrams = Datagrams() if self._lossy else None
        self._delivery.restart(welcome, lossy=self._lossy)
        self._observer.connected()
        if had_arrived:
            self._made_progress()
        self._queue.notify()
        return stream

    async def _serve(self, stream: ClientStream) -> str:
        """Runs one stream to its end and returns why it ended."""
        counted = CountedStream(stream, self._traffic, sends=True)
        work = (
            self._read(counted),
            self._write(counted),
            self._queue.feed(),
            self._delivery.watch_pause(),
            self._delivery.watch_losses(),
            self._traffic.watch(stream.connections),
            *self._keepalive.run(counted),
        )
        tasks = [asyncio.ensure_future(coroutine) for coroutine in work]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            return _ENDED
        except StreamBroken as error:
            if error.code in _FATAL_CODES and not self._stopping:
                raise PeerError(f"the receiver refuses the stream: {error.reason}") from error
            return _ENDED if error.code == "CANCELLED" else str(error)
        finally:
            self._stream = None
            await cancel(tasks)
            await stream.close()

    async def _read(self, stream: MessageStream) -> None:
        messages = ServerMessages(self._datagrams)
        while (data := await stream.read()) is not None:
            self._keepalive.on_message()
            message = messages.decode(data)
            if isinstance(message, Acknowledgements):
                for ack in self._delivery.new(message.frames):
                    self._on_acknowledgement(ack)
            elif isinstance(message, Heartbeat):
                answered_s = self._keepalive.on_echo(message)
                if answered_s is not None:
                    self._delivery.silence_ended(answered_s)
            elif isinstance(message, ChunkAck):
                self._delivery.background.received(message)
            elif isinstance(message, Drain):
                self._delivery.pause()
            else:
                raise MalformedPacket("the receiver sent Welcome in the middle of a stream")

    def _on_acknowledgement(self, ack: Acknowledgement) -> None:
        self._keepalive.on_acknowledgement(self._delivery.sent_at_s(ack.sequence))
        sample = self._delivery.on_acknowledgement(ack)
        if sample is not None:
            self._made_progress()
            self._keepalive.on_sample(sample)

    async def _write(self, stream: MessageStream) -> None:
        messages = ClientMessages(self._datagrams)
        while True:
            async for chunk in self._delivery.chunks_ahead():
                await stream.write(encode_client(chunk))
            message = messages.encode(await self._delivery.next_message())
            await stream.write(message, droppable=self._lossy)
            self._queue.notify()
            self._keepalive.on_frame_sent(len(message))
            if (report := self._report()) is not None:
                await stream.write(encode_client(report))
            for chunk in self._delivery.chunks():
                await stream.write(encode_client(chunk))
