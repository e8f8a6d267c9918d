"""Whether the receiver is there: heartbeats, the offset of its clock, and how long silence may last.

On a thin link what is under way takes seconds, and another connection many more.  The round trips of the last seconds
tell how long the next one may take.

Offset of the receiver's clock from the sender's, with its error bound.

A message that left at t₀ and whose answer arrived at t₃ was at the receiver, whose clock showed s, at some moment in
between: the offset s − t lies within (s − t₃, s − t₀), an interval as wide as the round trip.  Each sample gives one
such interval, which widens with the drift of the clocks; the offset lies in their intersection (Marzullo 1984, without
tolerance of faulty sources).  Short round trips therefore dominate without weights.

When to send a heartbeat: only when no other message serves, since on a thin link each costs as much as a frame.

Frames and their acknowledgements are keepalives too.  While they flow, heartbeats only compare the clocks, once a
second.  While a frame is unanswered, a heartbeat queued behind it gives little information, and on a stalled link it
would only delay the first frame after the stall.  After a while a single heartbeat is sent, because a receiver that is
busy with a frame echoes it at once.  A heartbeat that may be lost is repeated before the receiver is taken for lost.
"""

import asyncio
import contextlib
import logging
import math
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from common.clock import Clock
from common.wire.convert import MAX_CHUNK_BYTES, MAX_TIME_NS, Heartbeat, encode_client
from common.wire.stream import MessageStream, StreamBroken
from common.wire.traffic import MESSAGE_HEADER_BYTES, wire_bytes
from sender.congestion.capacity import LinkSample, WindowedExtreme
from sender.congestion.pacing import Meter, Prober, padded
from sender.link.background_transfer import BackgroundTransfer
from sender.link.connector import ClientStream, StandbyConnection
from sender.link.session import LinkObserver

# Round trips of up to so many heartbeat intervals are usual.
_USUAL_INTERVALS = 2.0
# A longer one may have been an outage, unless even the shortest is unusual: another connection is then slower still.
_MOST, _THIN = 5.0, 8.0
_WINDOW_MS = 5000.0


class Patience:
    """On one stream (`interval_s`: between heartbeats).

    Attributes:
        factor: by what to multiply the times after which silence means something: 1 to 5, or 8 on a thin link.
    """

    def __init__(self, interval_s: float) -> None:
        self._usual_s = _USUAL_INTERVALS * interval_s
        self._longest_s = WindowedExtreme(_WINDOW_MS, largest=True)
        self._shortest_s = WindowedExtreme(_WINDOW_MS)
        self.factor = 1.0

    def answered(self, round_trip_s: float, now_s: float) -> None:
        """Records a round trip that ended at a monotonic time, without what the receiver held the answer back."""
        longest_s = self._longest_s.update(round_trip_s, now_s * 1e3)
        is_thin = self._shortest_s.update(round_trip_s, now_s * 1e3) > self._usual_s
        self.factor = min(max(longest_s / self._usual_s, 1.0), _MOST)
        if is_thin and self.factor == _MOST:
            self.factor = _THIN


# Crystals are off by 100 ppm at most; two of them by twice that.
_MAX_DRIFT = 200e-6
# Samples that count, of up to five a second; the drift makes older ones worthless.
_SAMPLES = 120
# Heartbeats that may be answered yet; a stream is given up before there are more.
_PENDING = 64
# Farther from the others than is possible: one of the clocks was stepped.
_STEP_S = 1e-3


@dataclass(frozen=True, slots=True)
class ClockEstimate:
    """The receiver's clock minus the sender's.

    Args:
        offset_s: middle of the feasible interval.
        error_s: half of its width; the true offset is no farther away.
    """

    offset_s: float
    error_s: float


@dataclass(frozen=True, slots=True)
class _Sample:
    """Interval of the offset, at a monotonic time."""

    at_s: float
    low_s: float
    high_s: float


class ClockOffset:
    """Estimates the offset of two clocks from round trips."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque(maxlen=_SAMPLES)

    def update(self, sent_s: float, remote_s: float, round_trip_s: float, now_s: float) -> None:
        """Adds a message and its answer.

        Args:
            sent_s, remote_s: departure of the message and its arrival, each on the clock of its end.
            now_s: when the answer arrived, on a monotonic clock.
        """
        sample = _Sample(now_s, remote_s - sent_s - round_trip_s, remote_s - sent_s)
        others = self.at(now_s)
        if others is not None:
            apart_s = abs((sample.low_s + sample.high_s) / 2 - others.offset_s)
            if apart_s > round_trip_s / 2 + others.error_s + _STEP_S:
                self._samples.clear()
        self._samples.append(sample)

    def at(self, now_s: float) -> ClockEstimate | None:
        """Estimates the offset at a monotonic time; None before the first sample."""
        if not self._samples:
            return None
        low_s = max(sample.low_s - _MAX_DRIFT * (now_s - sample.at_s) for sample in self._samples)
        high_s = min(sample.high_s + _MAX_DRIFT * (now_s - sample.at_s) for sample in self._samples)
        return ClockEstimate((low_s + high_s) / 2, abs(high_s - low_s) / 2)


class ClockComparison:
    """Compares the clocks of both ends by heartbeats, which report the estimate to the receiver."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = ClockOffset()
        # By the time stamp that is echoed, the monotonic time of departure.
        self._pending: dict[int, float] = {}
        self.compared = asyncio.Event()

    def heartbeat(self) -> Heartbeat:
        """A heartbeat to send now, with the present estimate."""
        sent_ns, now_s = int(self._clock.wall() * 1e9), self._clock.monotonic()
        self._pending[sent_ns] = now_s
        if len(self._pending) > _PENDING:
            del self._pending[next(iter(self._pending))]
        estimate = self._offset.at(now_s)
        if estimate is None:
            return Heartbeat(sent_ns)
        # An error of zero means that the offset is unknown.
        error_ns = min(max(int(estimate.error_s * 1e9), 1), MAX_TIME_NS)
        offset_ns = min(max(round(estimate.offset_s * 1e9), -MAX_TIME_NS), MAX_TIME_NS)
        return Heartbeat(sent_ns, 0, offset_ns, error_ns)

    def update(self, echo: Heartbeat) -> float | None:
        """Adds the echo of a heartbeat, which has just arrived.

        Returns:
            When the heartbeat left, on the monotonic clock; None if it was not sent lately, or is one of a train.
        """
        left_s = self._pending.pop(echo.sent_ns, None)
        if left_s is not None and echo.received_ns:
            now_s = self._clock.monotonic()
            self._offset.update(echo.sent_ns / 1e9, echo.received_ns / 1e9, now_s - left_s, now_s)
            self.compared.set()
        return left_s


# Heartbeat intervals of silence after which a heartbeat finds out whether a receiver that owes an answer is only busy.
_BUSY_RECEIVER_INTERVALS = 4.0
# Heartbeat intervals after which one without an echo is repeated, where it may have been lost.
_REPEATED_AFTER_INTERVALS = 2.0


class HeartbeatSchedule:
    """Decides when the next heartbeat of a stream is due; times are seconds of one monotonic clock.

    Args:
        interval_s: longest time without a message sent, and without a message received.
        comparison_interval_s: from one comparison of the clocks to the next.
        patience: how much longer answers may take, because the link is slow.
        lossy: heartbeats may be lost.
    """

    def __init__(
        self, interval_s: float, comparison_interval_s: float, patience: Patience, *, lossy: bool = False
    ) -> None:
        self._interval_s, self._comparison_interval_s, self._patience = interval_s, comparison_interval_s, patience
        self._repeated_after_s = _REPEATED_AFTER_INTERVALS * self._interval_s if lossy else math.inf
        self._sent_s = self._received_s = self._heartbeat_s = -float("inf")
        self._echo_pending = False
        self._unanswered_frames = 0

    def frame_sent(self, now_s: float) -> None:
        self._sent_s = now_s
        self._unanswered_frames += 1

    def frame_answered(self) -> None:
        self._unanswered_frames = max(self._unanswered_frames - 1, 0)

    def heartbeat_sent(self, now_s: float) -> None:
        self._sent_s = self._heartbeat_s = now_s
        self._echo_pending = True

    def message_received(self, now_s: float) -> None:
        self._received_s = now_s

    def echo_received(self, now_s: float) -> None:
        self.message_received(now_s)
        self._echo_pending = False

    def due(self, now_s: float) -> bool:
        # A pending heartbeat suffices, unless a message arrived after it: then it cannot reveal a silence that began
        # with that message.
        pending = self._echo_pending and self._heartbeat_s > self._received_s
        if pending and now_s - self._heartbeat_s < self._repeated_after_s * self._patience.factor:
            return False
        silence_s = now_s - self._received_s
        busy_s = _BUSY_RECEIVER_INTERVALS * self._interval_s * self._patience.factor
        if self._unanswered_frames and silence_s < busy_s:
            return silence_s < self._interval_s and self._comparison_due(now_s)
        return now_s - min(self._sent_s, self._received_s) >= self._interval_s or self._comparison_due(now_s)

    def frame_serves(self, now_s: float) -> bool:
        """Whether a frame may leave instead of a heartbeat that is due: its answer ends the silence as well."""
        return not self._unanswered_frames and not self._comparison_due(now_s)

    def _comparison_due(self, now_s: float) -> bool:
        return now_s - self._heartbeat_s >= self._comparison_interval_s * self._patience.factor


_POLLS_PER_INTERVAL = 4
# Heartbeat intervals of silence after which the stream is suspected, and after which the receiver is lost, where round
# trips are usual. A smaller number would delay frames after a stall, since the standby connection's packets queue
# before them.
_SUSPECT_AFTER_POLLS, _LOST_AFTER_POLLS = 2 * _POLLS_PER_INTERVAL, 5 * _POLLS_PER_INTERVAL
# How long after the standby connection an answer on the old stream may arrive that was queued before it.
_ANSWER_GRACE_S = 0.02
# A stream that was silent for this long is given up, with or without a standby connection.
_MAX_SILENCE_S = 10.0


class Liveness:
    """Observes the receiver of one stream.

    Once the receiver is lost, a standby connection is opened.  If the link is only congested, that connection queues
    behind what was sent before: by the time it is open, the old stream has been answered too, and is kept.  After an
    outage TCP is slow to retransmit on the old connection, and the standby connection is open first: the stream is then
    given up for it.  Answers that left the receiver before the silence prove nothing in that case, because each
    direction recovers on its own: once the stream is suspected, only answers to messages sent during the silence count.

    Silence is counted in polls instead of read from a clock: a pause of this process then does not count as silence.

    Args:
        patience: how much longer silence may last, because the link is slow.
        on_lost: called once when the receiver is lost, with the reason.
        on_recovered: called when the stream is answered again after `on_lost`.
        lossy: nothing is sent again that was answered long ago.
    """

    def __init__(
        self,
        interval_s: float,
        standby: StandbyConnection[Any],
        patience: Patience,
        *,
        on_lost: Callable[[str], None],
        on_recovered: Callable[[], None],
        lossy: bool = False,
    ) -> None:
        self._poll_s = interval_s / _POLLS_PER_INTERVAL
        self._standby, self._patience = standby, patience
        self._on_lost, self._on_recovered, self._lossy = on_lost, on_recovered, lossy
        self._answered = self._lost = self._suspected = False
        self._silent_since_s = -float("inf")

    @property
    def lost(self) -> bool:
        """Whether the receiver was reported as lost on the present stream."""
        return self._lost

    @property
    def suspected(self) -> bool:
        """Whether the stream is silent for longer than usual."""
        return self._suspected

    def report_loss(self, reason: str) -> None:
        """Reports the receiver as lost, unless it was reported before."""
        if not self._lost:
            self._lost = True
            self._on_lost(reason)

    def on_answer(self, sent_s: float | None, now_s: float) -> None:
        """Handles an answer of the receiver; times are of one monotonic clock.

        Args:
            sent_s: departure of the message that it answers; None if that is not known.
        """
        if self._suspected and not self._lossy and (sent_s is None or sent_s < self._silent_since_s):
            return
        self._answered = True
        self._silent_since_s = now_s

    async def watch(self) -> None:
        """Polls until the stream is to be given up.

        Raises:
            StreamBroken: always, with the reason.
        """
        silent_polls = 0
        while silent_polls * self._poll_s < _MAX_SILENCE_S:
            self._answered = False
            await self._standby.wait(self._poll_s)
            if self._answered:
                silent_polls = 0
                await self._recover()
            else:
                silent_polls += 1
                await self._suspect(silent_polls)
        raise _no_message()

    async def _recover(self) -> None:
        self._suspected = False
        await self._standby.dismiss()
        if self._lost:
            self._lost = False
            self._on_recovered()

    async def _suspect(self, silent_polls: int) -> None:
        self._suspected = silent_polls >= _SUSPECT_AFTER_POLLS * self._patience.factor
        if silent_polls < _LOST_AFTER_POLLS * self._patience.factor:
            return
        self._standby.seek()
        broken = _no_message()
        self.report_loss(str(broken))
        if self._standby.failed:
            raise broken
        if self._standby.is_open:
            await asyncio.sleep(_ANSWER_GRACE_S)
            if not self._answered:
                raise StreamBroken(broken.code, "silent, while another connection to the receiver is open")


def _no_message() -> StreamBroken:
    return StreamBroken("DEADLINE_EXCEEDED", "no message from the receiver")


logger = logging.getLogger(__name__)

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
