"""Sends packet trains of heartbeats behind frames, and collects their echoes."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from common.clock import Clock
from common.wire.convert import Heartbeat, encode_client
from common.wire.stream import MessageStream
from sender.congestion.packet_train import PacketTrainSample
from sender.congestion.prober import Prober, padded
from sender.congestion.samples import LinkSample
from sender.link.keepalive.clock_offset import ClockComparison
from sender.link.keepalive.heartbeats import HeartbeatSchedule

# By then the receiver has decoded the frame, and the next frame has not been captured.
_DELAY_AFTER_FRAME_S = 0.01


class PacketTrainSender:
    """Serves one link, over any number of streams.

    Args:
        schedule: counts the heartbeats of a train like any other.
        clocks: makes the heartbeats.
    """

    def __init__(self, schedule: HeartbeatSchedule, clocks: ClockComparison, clock: Clock) -> None:
        self._schedule = schedule
        self._clocks = clocks
        self._clock = clock
        self._prober = Prober()
        self._frame_left = asyncio.Event()

    def restart(self) -> None:
        """Resets the state for a new stream."""
        self._prober.restart()

    def on_frame_sent(self, message_bytes: int) -> None:
        """Handles the departure of a frame, in a message of this size."""
        self._prober.frame_sent(message_bytes, self._clock.monotonic_ms())
        self._frame_left.set()

    def on_blob_sent(self) -> None:
        """Handles the departure of a part of a blob."""
        self._prober.blob_sent(self._clock.monotonic_ms())

    def on_sample(self, sample: LinkSample) -> None:
        """Handles the measurement of an acknowledged frame."""
        self._prober.acknowledged(sample, self._clock.monotonic_ms())

    def on_echo(self, echo: Heartbeat) -> PacketTrainSample | None:
        """Handles the echo of any heartbeat; returns the measurement if it completes a train."""
        return self._prober.echoed(echo, self._clock.monotonic_ms())

    async def run(self, stream: MessageStream) -> None:
        """Sends packet trains behind frames when they are due, until cancelled.

        Raises:
            StreamBroken: the stream has ended.
        """
        while True:
            self._frame_left.clear()
            await self._frame_left.wait()
            await asyncio.sleep(_DELAY_AFTER_FRAME_S)
            sizes = self._prober.packet_train(self._clock.monotonic_ms())
            if sizes:
                await self._send(stream, sizes)

    async def _send(self, stream: MessageStream, sizes: Sequence[int]) -> None:
        bare = self._clocks.heartbeat()
        bare_bytes = len(encode_client(bare))
        # Echoes are matched by their time of sending: the heartbeats of a train differ by a nanosecond.
        train = [
            padded(replace(bare, sent_ns=bare.sent_ns + index), size, bare_bytes) for index, size in enumerate(sizes)
        ]
        self._prober.sent(train, sizes, self._clock.monotonic_ms())
        for heartbeat in train:
            self._schedule.heartbeat_sent(self._clock.monotonic())
            await stream.write(encode_client(heartbeat))
