"""Keeps one receiver under observation: heartbeats, liveness, clock offset and packet trains."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import replace

from common.clock import Clock
from common.wire.convert import MAX_CHUNK_BYTES, Heartbeat, encode_client
from common.wire.stream import MessageStream
from common.wire.traffic import MESSAGE_HEADER_BYTES, wire_bytes
from sender.congestion.meter import Meter
from sender.congestion.prober import Prober, padded
from sender.congestion.samples import LinkSample
from sender.link.background_transfer import BackgroundTransfer
from sender.link.keepalive.clock_offset import ClockComparison
from sender.link.keepalive.heartbeats import HeartbeatSchedule
from sender.link.keepalive.liveness import Liveness
from sender.link.keepalive.patience import Patience
from sender.link.observer import LinkObserver
from sender.link.transport.handshake import ClientStream
from sender.link.transport.standby_connection import StandbyConnection

logger = logging.getLogger(__name__)

_POLLS_PER_INTERVAL = 4
# Between a frame and the packet train behind it: by then the receiver has decoded the frame, and the next one has not
# been captured.
_TRAIN_DELAY_S = 0.01
# Of a chunk's message, besides its data: the first one has kind, key, size and checksum.
_CHUNK_FIELDS_BYTES = 48


class Keepalive:
    """Serves one link, over any number of streams; the coroutines of `run` run beside each.

    Args:
        interval_s: most seconds between keepalives.
        comparison_interval_s: seconds between comparisons of the clocks.
        background: what packet trains carry before they are padded.
        let_frame_go: lets a frame leave in place of a heartbeat, if only the budget holds one back.
        meter: of everything on the link.
        probe_bps: most bits per second of padding; 0 sends no packet trains.
    """

    def __init__(
        self,
        interval_s: float,
        comparison_interval_s: float,
        standby: StandbyConnection[ClientStream],
        observer: LinkObserver,
        clock: Clock,
        background: BackgroundTransfer,
        let_frame_go: Callable[[], bool],
        meter: Meter,
        probe_bps: float,
    ) -> None:
        self._background, self._let_frame_go = background, let_frame_go
        self._interval_s, self._comparison_interval_s = interval_s, comparison_interval_s
        self._standby, self._observer = standby, observer
        self._clock, self._meter = clock, meter
        self._clocks = ClockComparison(clock)
        self._prober = Prober(probe_bps)
        self._frame_left = asyncio.Event()
        self._reported: set[str] = set()
        # Of the present stream, from `restart` on.
        self._patience: Patience
        self._schedule: HeartbeatSchedule
        self._liveness: Liveness

    def restart(self, *, lossy: bool) -> None:
        """Begins with a new stream (`lossy`: heartbeats may be lost on it)."""
        interval_s, self._patience = self._interval_s, Patience(self._interval_s)
        self._schedule = HeartbeatSchedule(interval_s, self._comparison_interval_s, self._patience, lossy=lossy)
        self._liveness = Liveness(
            *(interval_s, self._standby, self._patience),
            on_lost=self._on_lost,
            on_recovered=self._on_recovered,
            lossy=lossy,
        )
        self._prober.restart()

    def report_loss(self, reason: str) -> None:
        """Reports the receiver as lost, unless it was reported before: the stream ended."""
        self._liveness.report_loss(reason)

    def made_progress(self) -> None:
        """Reports the end of a loss, once a frame was acknowledged on a stream that is not lost."""
        if self._reported and not self._liveness.lost:
            self._reported.clear()
            logger.warning("the receiver is back")

    def run(self, stream: MessageStream) -> tuple[Coroutine[None, None, None], ...]:
        """The coroutines that run beside a stream; each raises StreamBroken when the stream is to be given up."""
        return self._send_heartbeats(stream), self._send_packet_trains(stream), self._liveness.watch()

    def on_message(self) -> None:
        self._schedule.message_received(self._clock.monotonic())

    def on_acknowledgement(self, sent_s: float | None) -> None:
        """Handles the receiver's answer to a frame.

        Args:
            sent_s: when the frame was sent, on the monotonic clock; None if it is not in flight.
        """
        self._schedule.frame_answered()
        self._liveness.on_answer(sent_s, self._clock.monotonic())

    def on_echo(self, echo: Heartbeat) -> float | None:
        """Handles the echo of a heartbeat; returns when that was sent, on the monotonic clock, if it ends a silence."""
        now_s, suspected = self._clock.monotonic(), self._liveness.suspected
        sent_s = self._clocks.update(echo)
        if sent_s is not None:
            self._patience.answered(now_s - sent_s, now_s)
        self._liveness.on_answer(sent_s, now_s)
        self._schedule.echo_received(now_s)
        measurement = self._prober.echoed(echo)
        if measurement is not None:
            self._observer.probed(measurement)
        return sent_s if suspected else None

    def on_frame_sent(self, message_bytes: int) -> None:
        """Handles the departure of a frame, in a message of this size."""
        self._schedule.frame_sent(self._clock.monotonic())
        self._prober.frame_sent(message_bytes, self._clock.monotonic_ms())
        self._frame_left.set()

    def on_sample(self, sample: LinkSample) -> None:
        self._patience.answered(sample.round_trip_time_ms / 1e3, self._clock.monotonic())
        self._prober.acknowledged(sample, self._clock.monotonic_ms())

    async def _send_heartbeats(self, stream: MessageStream) -> None:
        # The first frame is worth more than the clocks.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._interval_s):
                await self._frame_left.wait()
        await stream.write(encode_client(self._clocks.heartbeat()), droppable=True)
        # The echo of the first heartbeat gives the clock offset; the second, at once, reports it to the receiver.
        # Not `wait_for`: in Python 3.11 it loses a cancellation that comes together with the result (gh-86296).
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._interval_s):
                await self._clocks.compared.wait()
        while True:
            now_s = self._clock.monotonic()
            is_due = self._schedule.due(now_s)
            if is_due and not (self._schedule.frame_serves(now_s) and self._let_frame_go()):
                self._schedule.heartbeat_sent(now_s)
                await stream.write(encode_client(self._clocks.heartbeat()), droppable=True)
            await asyncio.sleep(self._interval_s / _POLLS_PER_INTERVAL)

    async def _send_packet_trains(self, stream: MessageStream) -> None:
        """Sends packet trains behind frames when they are due, until cancelled."""
        while True:
            self._frame_left.clear()
            await self._frame_left.wait()
            await asyncio.sleep(_TRAIN_DELAY_S)
            now_ms = self._clock.monotonic_ms()
            sizes = self._prober.packet_train(now_ms, self._background.waiting_bytes)
            if sizes and self._meter.blob_bytes(now_ms) >= sum(sizes):
                for message, droppable in self._packet_train(sizes, now_ms):
                    await stream.write(message, droppable=droppable)

    def _packet_train(self, sizes: Sequence[int], now_ms: float) -> Iterator[tuple[bytes, bool]]:
        """The messages of a train, and whether each may be lost: up to each heartbeat so many bytes, of waiting blobs.

        A chunk is taken when it is written, because others may be written between two messages of a train.
        """
        bare = self._clocks.heartbeat()
        bare_bytes = len(encode_client(bare))
        # Echoes are matched by their time of sending: the heartbeats of a train differ by a nanosecond.
        times_ns = [bare.sent_ns + index for index in range(len(sizes))]
        self._prober.sent(dict(zip(times_ns, sizes, strict=True)), now_ms)
        for sent_ns, size in zip(times_ns, sizes, strict=True):
            left = size
            most_data_bytes = min(size - bare_bytes - MESSAGE_HEADER_BYTES - _CHUNK_FIELDS_BYTES, MAX_CHUNK_BYTES)
            if most_data_bytes > 0 and (chunk := self._background.take(most_data_bytes)) is not None:
                data = encode_client(chunk)
                left -= len(data) + MESSAGE_HEADER_BYTES
                self._meter.blob_sent(len(chunk.data), now_ms)
                yield data, False
            heartbeat = encode_client(padded(replace(bare, sent_ns=sent_ns), left, bare_bytes))
            self._prober.padded(wire_bytes(len(heartbeat)), now_ms)
            self._meter.blob_sent(len(heartbeat), now_ms)
            self._schedule.heartbeat_sent(self._clock.monotonic())
            yield heartbeat, True

    def _on_lost(self, reason: str) -> None:
        # A receiver that fails again and again without an acknowledgement is reported once for each reason.
        level = logging.DEBUG if reason in self._reported else logging.WARNING
        self._reported.add(reason)
        logger.log(level, "lost the receiver (%s); trying to resume", reason)
        self._observer.disconnected(reason)

    def _on_recovered(self) -> None:
        self._reported.clear()
        logger.warning("the receiver answers again on the same stream")
        self._observer.connected()
