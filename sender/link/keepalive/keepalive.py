"""Heartbeats and what they are good for: keepalives, comparing the clocks, trains that measure the link."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace

from common.clock import Clock
from common.wire.convert import Heartbeat, encode_client
from common.wire.stream import MessageStream
from sender.congestion.prober import Prober, padded
from sender.congestion.samples import LinkSample
from sender.link.keepalive.clock_offset import ClockOffset
from sender.link.keepalive.heartbeats import HeartbeatSchedule
from sender.link.observer import LinkObserver

# By then the receiver has decoded the frame, and the next is not there yet.
_PACKET_TRAIN_AFTER_FRAME_S = 0.01
# Times within a heartbeat interval that one may turn out to be due.
_LOOKS = 4


class Keepalive:
    """Of one link, over any number of streams; `beat` and `probe` run beside each.

    Args:
        interval_s: most seconds between keepalives.
        observer: hears what trains and the short way of heartbeats tell.
    """

    def __init__(self, interval_s: float, observer: LinkObserver, clock: Clock) -> None:
        self._interval_s = interval_s
        self._observer = observer
        self._clock = clock
        self._schedule = HeartbeatSchedule(interval_s)
        self._prober = Prober()
        self._clocks = ClockOffset()
        self._compared = asyncio.Event()
        self._frame_left = asyncio.Event()

    def restart(self) -> None:
        """A new stream stands."""
        self._schedule.restart()
        self._prober.restart()

    def heard(self) -> None:
        """A message came in."""
        self._schedule.heard(self._clock.monotonic())

    def echoed(self, echo: Heartbeat) -> None:
        """The echo of a heartbeat came in."""
        self._schedule.echoed(self._clock.monotonic())
        if echo.received_ns:
            self._compare_clocks(echo)
        measurement = self._prober.echoed(echo, self._clock.monotonic_ms())
        if measurement is not None:
            self._observer.probed(measurement)

    def on_our_clock(self, receivers_ns: int) -> int | None:
        """A moment on the receiver's clock on ours, nanoseconds since the epoch; None while the offset is not known."""
        estimate = self._clocks.at(self._clock.wall())
        return None if estimate is None else receivers_ns - int(estimate.offset_s * 1e9)

    def answered(self) -> None:
        """The receiver has said what became of a frame."""
        self._schedule.answered()

    def acknowledged(self, sample: LinkSample) -> None:
        """A frame was acknowledged."""
        self._prober.acknowledged(sample, self._clock.monotonic_ms())

    def frame(self, message_bytes: int) -> None:
        """A frame went out, in a message of so many bytes."""
        self._schedule.sent(self._clock.monotonic())
        self._prober.frame(message_bytes, self._clock.monotonic_ms())
        self._frame_left.set()

    async def beat(self, stream: MessageStream) -> None:
        """Sends heartbeats when they are due, without end.

        Raises:
            StreamBroken: the stream has ended.
        """
        await stream.write(encode_client(self._heartbeat()))
        # The echo of the first tells the offset of the clocks; the second, at once, tells the receiver.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._compared.wait(), self._interval_s)
        while True:
            if self._schedule.due(self._clock.monotonic()):
                self._schedule.beat(self._clock.monotonic())
                await stream.write(encode_client(self._heartbeat()))
            await asyncio.sleep(self._interval_s / _LOOKS)

    async def probe(self, stream: MessageStream) -> None:
        """Sends trains behind frames when they are due, without end.

        Raises:
            StreamBroken: the stream has ended.
        """
        while True:
            self._frame_left.clear()
            await self._frame_left.wait()
            await asyncio.sleep(_PACKET_TRAIN_AFTER_FRAME_S)
            sizes = self._prober.packet_train(self._clock.monotonic_ms())
            if sizes:
                await self._send_packet_train(stream, sizes)

    async def _send_packet_train(self, stream: MessageStream, sizes: Sequence[int]) -> None:
        bare = self._heartbeat()
        # Each has its own stamp, by which its echo is known, a nanosecond after the one before.
        packet_train = [replace(bare, sent_ns=bare.sent_ns + index) for index in range(len(sizes))]
        packet_train = [
            padded(each, size, len(encode_client(bare))) for each, size in zip(packet_train, sizes, strict=True)
        ]
        self._prober.sent(packet_train, sizes, self._clock.monotonic_ms())
        for each in packet_train:
            self._schedule.beat(self._clock.monotonic())
            await stream.write(encode_client(each))

    def _heartbeat(self) -> Heartbeat:
        now_s = self._clock.wall()
        estimate = self._clocks.at(now_s)
        if estimate is None:
            return Heartbeat(int(now_s * 1e9))
        # Zero would say that nothing is known.
        error_ns = max(int(estimate.error_s * 1e9), 1)
        return Heartbeat(int(now_s * 1e9), 0, round(estimate.offset_s * 1e9), error_ns)

    def _compare_clocks(self, echo: Heartbeat) -> None:
        at_receiver_s = echo.received_ns / 1e9
        self._clocks.update(echo.sent_ns / 1e9, at_receiver_s, at_receiver_s, self._clock.wall())
        self._compared.set()
        self._observer.one_way_delay((echo.received_ns - echo.sent_ns) / 1e6)
