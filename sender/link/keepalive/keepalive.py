"""Keeps one receiver under observation: heartbeats, liveness, clock offset and packet trains."""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine

from common.clock import Clock
from common.wire.convert import Acknowledgement, Heartbeat, Welcome, encode_client
from common.wire.stream import MessageStream
from sender.congestion.samples import LinkSample
from sender.link.keepalive.clock_offset import ClockComparison
from sender.link.keepalive.heartbeats import HeartbeatSchedule
from sender.link.keepalive.liveness import Liveness
from sender.link.keepalive.packet_trains import PacketTrainSender
from sender.link.observer import LinkObserver
from sender.link.transport.handshake import ClientStream
from sender.link.transport.standby_connection import StandbyConnection

logger = logging.getLogger(__name__)

_POLLS_PER_INTERVAL = 4


class Keepalive:
    """Serves one link, over any number of streams; the coroutines of `run` run beside each.

    Args:
        interval_s: most seconds between keepalives.
        standby: makes the connection that replaces a silent stream.
        observer: notified of loss and recovery, packet trains and one-way delays.
    """

    def __init__(
        self,
        interval_s: float,
        standby: StandbyConnection[ClientStream],
        observer: LinkObserver,
        clock: Clock,
    ) -> None:
        self._interval_s = interval_s
        self._observer = observer
        self._clock = clock
        self._schedule = HeartbeatSchedule(interval_s)
        self._clocks = ClockComparison(clock)
        self._trains = PacketTrainSender(self._schedule, self._clocks, clock)
        self._liveness = Liveness(interval_s, standby, on_lost=self._on_lost, on_recovered=self._on_recovered)
        self._welcome: Welcome | None = None
        self._reported: set[str] = set()

    def restart(self, welcome: Welcome) -> None:
        """Resets the state for a new stream."""
        self._welcome = welcome
        self._liveness.restart()
        self._schedule.restart()
        self._trains.restart()

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
        return self._send_heartbeats(stream), self._trains.run(stream), self._liveness.watch()

    def on_message(self) -> None:
        """Handles the arrival of any message."""
        self._schedule.message_received(self._clock.monotonic())

    def on_acknowledgement(self, ack: Acknowledgement, sent_ns: int | None) -> None:
        """Handles the receiver's answer to a frame.

        Args:
            sent_ns: when the frame was sent, nanoseconds since the epoch; None if it is not in flight.
        """
        self._schedule.frame_answered()
        self._note_answer(sent_ns or 0, (ack.received_us + ack.hold_us) * 1000)

    def on_echo(self, echo: Heartbeat) -> None:
        """Handles the echo of a heartbeat."""
        self._note_answer(echo.sent_ns, echo.received_ns)
        self._schedule.echo_received(self._clock.monotonic())
        if echo.received_ns:
            self._clocks.update(echo)
            self._observer.one_way_delay((echo.received_ns - echo.sent_ns) / 1e6)
        measurement = self._trains.on_echo(echo)
        if measurement is not None:
            self._observer.probed(measurement)

    def on_frame_sent(self, message_bytes: int) -> None:
        """Handles the departure of a frame, in a message of this size."""
        self._schedule.frame_sent(self._clock.monotonic())
        self._trains.on_frame_sent(message_bytes)

    def on_blob_sent(self) -> None:
        """Handles the departure of a part of a blob."""
        self._trains.on_blob_sent()

    def on_sample(self, sample: LinkSample) -> None:
        """Handles the measurement of an acknowledged frame."""
        self._trains.on_sample(sample)

    async def _send_heartbeats(self, stream: MessageStream) -> None:
        await stream.write(encode_client(self._clocks.heartbeat()))
        # The echo of the first heartbeat gives the clock offset; the second, at once, reports it to the receiver.
        # Not `wait_for`: in Python 3.11 it loses a cancellation that comes together with the result (gh-86296).
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._interval_s):
                await self._clocks.compared.wait()
        while True:
            if self._schedule.due(self._clock.monotonic()):
                self._schedule.heartbeat_sent(self._clock.monotonic())
                await stream.write(encode_client(self._clocks.heartbeat()))
            await asyncio.sleep(self._interval_s / _POLLS_PER_INTERVAL)

    def _note_answer(self, sent_ns: int, receiver_ns: int) -> None:
        now_ns = int(self._clock.wall() * 1e9)
        self._liveness.on_answer(sent_ns, self._clocks.to_sender_ns(receiver_ns), now_ns)

    def _on_lost(self, reason: str) -> None:
        # A receiver that fails again and again without an acknowledgement is reported once for each reason.
        level = logging.DEBUG if reason in self._reported else logging.WARNING
        self._reported.add(reason)
        logger.log(level, "lost the receiver (%s); trying to resume", reason)
        self._observer.disconnected(reason)

    def _on_recovered(self) -> None:
        self._reported.clear()
        logger.warning("the receiver answers again on the same stream")
        assert self._welcome is not None
        self._observer.connected(self._welcome)
