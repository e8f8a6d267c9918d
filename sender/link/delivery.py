"""Frames on their way: sent, acknowledged, lost, sent again, and what the answers measure of the link.

Which frames in flight are lost, over a transport that may lose frames and their acknowledgements.

The receiver answers frames in the order in which they arrive.  So an answer shows that the frames before it were lost
or arrived too late, or that their answers were lost: they are given up.  Without any answer the oldest frame of a full
window, or one that no frame follows, is given up after a time like TCP's retransmission timeout (RFC 6298), which
doubles from the third one on: a fresh frame can leave and show whether the link is back.  An answer to a frame that was
given up shows how slow the link has become.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Collection, Iterator, Sequence

from common.blobs import Blob
from common.clock import Clock
from common.errors import PeerError
from common.frames import LabelFrame
from common.wire.convert import (
    MAX_CHUNK_BYTES,
    MAX_WINDOW,
    NO_SEQUENCE,
    Acknowledgement,
    AckStatus,
    Chunk,
    FrameMessage,
    Welcome,
)
from common.wire.frame_messages import FRAME_FIELDS_BYTES
from common.wire.stream import StreamBroken
from sender.config import LinkConfig
from sender.congestion.capacity import LinkSample
from sender.congestion.pacing import CongestionWindow, Meter
from sender.link.background_transfer import BackgroundTransfer, BlobsAhead, Pacer, check_size
from sender.link.frame_queue import FrameQueue, Frames, InFlight
from sender.link.session import Fate, LinkObserver, SenderSession

# How much longer than is possible a receiver's clocks may show an interval: they may be stepped.
_CLOCK_TOLERANCE_MS = 1000.0
# Neither do they by as much, nor while this machine sleeps.
_IMPOSSIBLE_MS = 60_000.0


class LinkMeasurement:
    """Of one stream (`lossy`: messages and their answers may be lost on it)."""

    def __init__(self, clock: Clock, *, lossy: bool) -> None:
        self._clock, self._lossy, self._began_s = clock, lossy, clock.monotonic()
        self._prompt_hold_us: float = math.inf
        self._last_answered_s: float | None = None

    def arrived(self, newest: Acknowledgement) -> None:
        """Takes note of the newest of the answers that have arrived together."""
        self._prompt_hold_us = newest.hold_us

    def sample(self, ack: Acknowledgement, answered: InFlight) -> LinkSample:
        """What the answer to a message measures; call it once for each, in order.

        Raises:
            PeerError: the receiver says that something lasted longer than the message, or the stream, has.
        """
        # The receiver's times are those of its clocks, or hostile: no interval is longer than we have waited.
        now_s = self._clock.monotonic()
        total_ms = (now_s - answered.sent_at_s) * 1e3
        for said_us, longest_ms in ((ack.hold_us, total_ms), (ack.spacing_us, (now_s - self._began_s) * 1e3)):
            if said_us / 1e3 > longest_ms + _IMPOSSIBLE_MS:
                raise PeerError(
                    f"the receiver says that it took {said_us / 1e6:.0f} s for frame {ack.sequence}, which was sent "
                    f"{total_ms / 1e3:.1f} s ago: its clock is faulty, or it is no Bodywire receiver; see --peer"
                )
        hold_ms = min(ack.hold_us / 1e3, total_ms + _CLOCK_TOLERANCE_MS)
        sent_spacing_ms = self._sent_spacing_ms(answered)
        longest_spacing_ms = total_ms + (sent_spacing_ms or 0.0) + _CLOCK_TOLERANCE_MS
        spacing_ms = min(ack.spacing_us / 1e3, longest_spacing_ms) if ack.spacing_us else None
        return LinkSample(
            sequence=ack.sequence,
            message_bytes=answered.message_bytes,
            round_trip_time_ms=max(total_ms - hold_ms, 0.0),
            # Without the time for which the answer waited for others; of a bundle, what one frame takes.
            hold_ms=min(hold_ms, self._prompt_hold_us / 1e3) / len(answered.frames),
            sent_spacing_ms=sent_spacing_ms,
            arrival_spacing_ms=spacing_ms,
            waited=answered.waited,
            frames=len(answered.frames),
            face_bytes=answered.face_bytes,
        )

    def _sent_spacing_ms(self, answered: InFlight) -> float | None:
        """Since the message was sent that arrived before this one."""
        last_s, self._last_answered_s = self._last_answered_s, answered.sent_at_s
        if not self._lossy:
            return answered.sent_spacing_ms
        return None if last_s is None else (answered.sent_at_s - last_s) * 1e3


# What an acknowledgement may wait for the next one, with some reserve.
_ACK_DELAY_S = 0.16
_INITIAL_TIMEOUT_S = 0.5
# A small packet that often costs nothing, and finds the end of an outage soon.
_MAX_TIMEOUT_S = 0.5
_DEVIATIONS = 4.0
# Frames that are predicted from a lost one are lost with it, for a round trip: too many if it happens more often.
_CALM_S = 10.0


class Losses:
    """Of one stream; times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._mean_s: float | None = None
        self._deviation_s = 0.0
        self._given_up = 0
        self._last_s = 0.0
        self._lost_s = -math.inf
        self._silent_until_s = -math.inf
        self._gone: dict[int, InFlight] = {}

    def lost(self, now_s: float) -> None:
        """Records that a frame was lost."""
        self._lost_s = now_s

    def silence_ended(self, answered_s: float) -> None:
        """Records that what was sent until then, and has no answer, was lost in an outage."""
        self._silent_until_s = answered_s

    def frequent(self, now_s: float) -> bool:
        """Whether a frame was lost recently."""
        return now_s - self._lost_s < _CALM_S

    def answered(self, sequences: Collection[int], in_flight: Sequence[InFlight], now_s: float) -> list[InFlight]:
        """Handles answers to frames in flight; returns those that were sent before the last of them, without one."""
        times_s = {message.sequence: message.sent_at_s for message in in_flight}
        known = [times_s[sequence] for sequence in sequences if sequence in times_s]
        if not known:
            return []
        newest_s = max(known)
        self._learn(now_s - newest_s)
        self._given_up = 0
        lost = [item for item in in_flight if item.sent_at_s < newest_s and item.sequence not in sequences]
        if lost:
            self.lost(now_s)
        return lost

    def is_late(self, ack: Acknowledgement) -> bool:
        """Whether a frame that was given up had arrived, or will be handled."""
        return ack.sequence in self._gone and ack.status is not AckStatus.REJECTED

    def late(self, sequence: int, now_s: float) -> InFlight | None:
        """The frame that was given up and is answered now, for the first time: the link has become slow."""
        late = self._gone.pop(sequence, None)
        if late is not None:
            self._learn(now_s - late.sent_at_s)
        return late

    def overdue(self, in_flight: Sequence[InFlight], now_s: float) -> InFlight | None:
        """The frame in flight to be given up now, if none was answered for too long."""
        if not in_flight:
            return None
        oldest = min(in_flight, key=lambda item: item.sent_at_s)
        waited_s = now_s - max(oldest.sent_at_s, self._last_s)
        if waited_s < self._timeout_s and oldest.sent_at_s > self._silent_until_s:
            return None
        self._given_up += 1
        self._last_s = now_s
        self._gone[oldest.sequence] = oldest
        if len(self._gone) > MAX_WINDOW:
            del self._gone[next(iter(self._gone))]
        self.lost(now_s)
        return oldest

    @property
    def _timeout_s(self) -> float:
        if self._mean_s is None:
            return _INITIAL_TIMEOUT_S
        base_s = self._mean_s + _DEVIATIONS * self._deviation_s + _ACK_DELAY_S
        longest_s = max(base_s, _MAX_TIMEOUT_S)
        return float(min(base_s * 2.0 ** max(self._given_up - 2, 0), longest_s))

    def _learn(self, answered_s: float) -> None:
        if self._mean_s is None:
            self._mean_s, self._deviation_s = answered_s, answered_s / 2
            return
        self._deviation_s += (abs(answered_s - self._mean_s) - self._deviation_s) / 4
        self._mean_s += (answered_s - self._mean_s) / 8


# For so long after a message that waited for a full link, all are acknowledged at once; and for so long two together
# over TCP: packets that it loses delay others, and one with many acknowledgements many messages.
_PROMPT_S, _CAREFUL_S = 1.0, 10.0
# Acknowledgements that may wait for the next one, one after the other: all of a receiver's window where a budget paces
# messages, but for the one that brings them, and one behind it.
_MOST_DELAYED, _MOST_PACED, _PACED_ROOM = 4, 8, 2
# While losses are frequent: then frames are predicted from what was acknowledged.
_MOST_LOSSY, _MOST_LOSSY_PACED = 1, 2
# Heartbeat intervals from one prompt acknowledgement to the next: none may think the other lost.
_INTERVALS = 3.0


class DelayedAcknowledgement:
    """Decides of each message of a stream, in their order, whether its acknowledgement may wait for that of the next.

    An acknowledgement costs nearly as many bytes on the wire as a frame, most of them headers.  One that arrives later
    keeps a place in the window for longer; and where losses are frequent it makes the next frame a few bytes longer,
    because that is predicted from an older one.  So four of five may wait, or else every second one, as long as the
    window has room for it.

    Args:
        paced: a budget paces messages.
        lossy: they are sent in datagrams.
    """

    def __init__(self, heartbeat_interval_s: float, *, paced: bool = False, lossy: bool = False) -> None:
        self._most = _MOST_PACED if paced else _MOST_DELAYED
        self._least = _MOST_LOSSY_PACED if paced else _MOST_LOSSY
        self._room = self._most + (_PACED_ROOM if paced else 0)
        self._longest_s = _INTERVALS * heartbeat_interval_s
        self._careful_s = _PROMPT_S if lossy else _CAREFUL_S
        self._delayed, self._calm_s = 0, math.inf
        self._waited_s = self._prompt_s = -math.inf

    @property
    def room(self) -> int:
        """Places in the window for messages whose acknowledgement waits."""
        return 0 if self._calm_s < self._careful_s else self._room

    def may_wait(self, now_s: float, *, held_back: bool, room: int, wanted_soon: bool, losses: bool) -> bool:
        """Whether the acknowledgement of the message that leaves now may wait.

        Args:
            held_back: the message had to wait for room in the window, because the link is full.
            room: how many more may leave before one is acknowledged.
            wanted_soon: something else than the next frame depends on this acknowledgement.
            losses: they are frequent.
        """
        self._waited_s = now_s if held_back else self._waited_s
        self._calm_s = now_s - self._waited_s
        most = self._most if self.room and not losses else self._least
        prompt = self._calm_s < _PROMPT_S or wanted_soon or room < 1
        late = now_s - self._prompt_s >= self._longest_s
        waits = not (prompt or late) and self._delayed < most
        if not waits:
            self._prompt_s = now_s
        self._delayed = self._delayed + 1 if waits else 0
        return waits


logger = logging.getLogger(__name__)
_DECODED = (AckStatus.DECODED, AckStatus.LATE)
# A receiver that rejects this many frames in a row, or one frame this often, will reject the next one too: key frames
# are among them.
_MAX_REJECTIONS = 8
_FAULTY = "it is faulty, or no Bodywire receiver; see --peer"
# More than are sent while an answer is on its way.
_MESSAGES = 1024
# A receiver answers each frame of a stream once.
_MAX_UNEXPECTED_IN_A_ROW = MAX_WINDOW
# A receiver that drains ends the stream when it has handled the frames that have arrived.
_MAX_DRAIN_S = 30.0
# Behind a frame that is lost another one usually follows, whose answer shows the loss; behind the last one none does.
_LAST_FRAME_S = 1.0
_LOSS_POLL_S = 0.02
# Where nobody waits, frames wait for others to share a message: four at 30 a second, without heartbeats between them.
_GATHER_MS = 130.0


class FrameDelivery:
    """Takes frames and blobs, and hands out the messages to send; every frame meets exactly one fate.

    Args:
        pacer: how fast blobs may be sent, which without one are not, and how labels share messages.
        meter: of everything on the link.
        gathers: frames wait for others to leave with, because nobody waits for them.

    Attributes:
        background: the blobs that are sent in the gaps between frames.
    """

    def __init__(
        self,
        session: SenderSession,
        queue: FrameQueue,
        config: LinkConfig,
        observer: LinkObserver,
        pacer: Pacer | None,
        meter: Meter,
        clock: Clock,
        *,
        gathers: bool = False,
    ) -> None:
        self._session, self._queue = session, queue
        self._config, self._observer = config, observer
        self._pacer, self._meter, self._clock = pacer, meter, clock
        self._paced = math.isfinite(config.budget_bps)
        self._congestion_window = CongestionWindow(config.window)
        self.background = BackgroundTransfer(pacer)
        self._ahead = BlobsAhead()
        self._gather_ms = _GATHER_MS if gathers else 0.0
        self._gathered_ms = -math.inf
        self._offered_ms = math.inf
        self._rejections = 0
        self._rejections_of: dict[int, int] = {}
        self._given_up: dict[int, InFlight] = {}
        # Of the present stream, from `restart` on.
        self._lossy: bool
        self._losses: Losses
        self._measurement: LinkMeasurement
        self._delayed_acknowledgement: DelayedAcknowledgement
        self._most_in_flight: int
        self._last_sent_s: float | None
        self._unexpected: int
        # The newest messages, by the number that their answers name.
        self._messages: dict[int, None]
        self._paused = asyncio.Event()

    async def send(self, frame: LabelFrame, ahead: Sequence[Blob] = ()) -> None:
        """Takes a frame, for which there is room; a live one may supersede others. Raises as `FrameQueue.put`."""
        for blob in ahead:
            check_size(blob)
        if self._session.live:
            if self._pacer is not None:
                self._queue.bundle = self._pacer.bundle
            self._offered_ms = self._clock.monotonic_ms()
            self._congestion_window.offered(self._offered_ms)
            self._session.offered(frame)
        if ahead and not self._ahead.keep(frame.sequence, ahead):
            for blob in ahead:
                self.background.post(blob)
        if not self._queue.waiting:
            self._gathered_ms = self._clock.monotonic_ms() + self._gather_ms
        for superseded in await self._queue.put(frame):
            self._finish(superseded, Fate.SUPERSEDED)

    def finish(self) -> None:
        """No frame follows for which others might wait."""
        self._gather_ms, self._gathered_ms = 0.0, -math.inf
        self._queue.notify()

    def restart(self, welcome: Welcome, *, lossy: bool = False) -> None:
        """Begins with a new stream (`lossy`: frames and their acknowledgements may be lost on it)."""
        self._lossy, self._losses = lossy, Losses()
        self._measurement = LinkMeasurement(self._clock, lossy=lossy)
        interval_s = self._config.heartbeat_interval_s
        self._delayed_acknowledgement = DelayedAcknowledgement(interval_s, paced=self._paced, lossy=lossy)
        self._congestion_window.restart(min(self._config.window, welcome.window))
        self._most_in_flight = welcome.window
        self._last_sent_s, self._unexpected, self._messages = None, 0, {}
        self._paused.clear()
        self._resize()
        self.background.restart(receiver_is_new=not welcome.resumed)

    async def resume(self, welcome: Welcome) -> bool:
        """Settles the frames that were sent on streams before; returns whether any had been delivered.

        Raises:
            PeerError: the receiver claims frames that were never sent.
            UsageError, OutputError: as `Spool.skip`.
        """
        self._session.check(welcome)
        last = self._queue.find(welcome.next_sequence - 1)
        resumption = await self._queue.resume(welcome.next_sequence)
        self._session.resume(welcome, resumption)
        for frame in resumption.delivered:
            # In a live session nothing shows that what left ahead of the last decoded message was decoded too.
            lost = self._session.live and (last is None or frame.sequence < last.frames[0].sequence)
            self._finish(frame, Fate.LOST if lost else Fate.ACKNOWLEDGED)
        for frame in resumption.superseded:
            self._finish(frame, Fate.SUPERSEDED)
        return bool(resumption.delivered)

    def pause(self) -> None:
        """Sends no further frames on this stream: the receiver drains."""
        self._paused.set()

    async def watch_pause(self) -> None:
        """Waits until the receiver has drained for too long without ending the stream.

        Raises:
            StreamBroken: always.
        """
        await self._paused.wait()
        await asyncio.sleep(_MAX_DRAIN_S)
        raise StreamBroken("DEADLINE_EXCEEDED", f"the receiver drains for more than {_MAX_DRAIN_S:g} s")

    async def next_message(self) -> FrameMessage:
        """Waits until frames may leave, and encodes them."""
        frames = await self._next_frames()
        now_s = self._clock.monotonic()
        losses = self._losses.frequent(now_s)
        encoded = self._session.encode(*frames, expected=self._session.live and not losses)
        # Encoding takes a while, and is no part of the round trip.
        now_s = self._clock.monotonic()
        spacing_ms = None if self._last_sent_s is None else (now_s - self._last_sent_s) * 1e3
        self._last_sent_s = now_s
        message_bytes = len(encoded.payload) + len(encoded.faces) + FRAME_FIELDS_BYTES
        held_back = self._queue.held_back
        self._queue.sent(InFlight(frames, now_s, message_bytes, spacing_ms, held_back, len(encoded.faces)))
        self._observer.sent(frames, encoded)
        # Without live frames the window decides how fast they leave; blobs are paced by acknowledgements.
        wanted_soon = encoded.key or not self._session.live or not self.background.idle
        # Where a budget paces messages, a window that was full without a queue on the link was too small.
        full = held_back and (self._congestion_window.queues or not self._paced)
        may_wait = self._delayed_acknowledgement.may_wait(
            now_s, held_back=full, room=self._queue.room, wanted_soon=wanted_soon, losses=losses
        )
        self._resize()
        *earlier, last = (frame.sequence for frame in frames)
        self._messages[last] = None
        if len(self._messages) > _MESSAGES:
            del self._messages[next(iter(self._messages))]
        return FrameMessage(last, encoded.payload, may_wait, tuple(earlier), encoded.faces)

    async def _next_frames(self) -> Frames:
        """Waits until window and meter let frames leave; in a live session the newest one is then among them."""
        while True:
            frames = () if self._paused.is_set() else self._queue.ready()
            if not frames:
                await self._queue.change()
                continue
            now_ms = self._clock.monotonic_ms()
            wait_ms = self._meter.frame_wait_ms(now_ms, self._offered_ms)
            if self._queue.may_grow(frames):
                wait_ms = max(wait_ms, self._gathered_ms - now_ms)
            if wait_ms <= 0:
                return frames
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_ms / 1e3):
                    await self._queue.change()

    def sent_at_s(self, sequence: int) -> float | None:
        """When a frame in flight was sent, on the monotonic clock; None if it is not in flight."""
        in_flight = self._queue.find(sequence)
        return None if in_flight is None else in_flight.sent_at_s

    async def chunks_ahead(self) -> AsyncIterator[Chunk]:
        """Waits until frames may leave, and yields the parts of their blobs, each when the meter lets it leave."""
        most_bytes, begun = self._meter.part_bytes(MAX_CHUNK_BYTES), set[int]()
        # Others may come meanwhile.
        while new := [frame for frame in await self._next_frames() if frame.sequence not in begun]:
            begun |= {frame.sequence for frame in new}
            for chunk in self.background.ahead(self._ahead.belonging(new), most_bytes):
                while (wait_ms := self._meter.frame_wait_ms(self._clock.monotonic_ms())) > 0:
                    await asyncio.sleep(wait_ms / 1e3)
                yield chunk

    def chunks(self) -> Iterator[Chunk]:
        """The parts of blobs to send behind the frame that has just left."""
        now_ms = self._clock.monotonic_ms()
        for chunk in self.background.chunks(now_ms, self._meter.blob_bytes(now_ms)):
            self._meter.blob_sent(len(chunk.data), now_ms)
            yield chunk

    def let_frame_go(self) -> bool:
        """Lets a frame leave at once that only the budget holds back; False if there is none."""
        if not self._paced or self._paused.is_set() or not self._queue.ready():
            return False
        self._meter.let_frame_go()
        self._queue.notify()
        return True

    def new(self, acks: Sequence[Acknowledgement]) -> Sequence[Acknowledgement]:
        """The answers to frames in flight, if others may be repeated; frames that they show to be lost are given up.

        Raises:
            PeerError: the receiver answers what was never sent.
        """
        self._measurement.arrived(acks[-1])
        if not self._lossy:
            return acks
        for ack in acks:
            self._check_sent(ack)
            self._find(ack)
        new = [ack for ack in acks if self._queue.find(ack.sequence) is not None]
        if not new and self._losses.is_late(acks[-1]):
            new = [acks[-1]]
        sequences = {ack.sequence for ack in new}
        for lost in self._losses.answered(sequences, self._queue.in_flight, self._clock.monotonic()):
            self._give_up(lost)
        return new

    async def watch_losses(self) -> None:
        """Gives up frames that nothing answers, of a full window or after which none was sent, until cancelled."""
        while True:
            await asyncio.sleep(_LOSS_POLL_S if self._lossy else _MAX_DRAIN_S)
            now_s = self._clock.monotonic()
            silent = self._last_sent_s is not None and now_s - self._last_sent_s > _LAST_FRAME_S
            in_flight = self._queue.in_flight if self._lossy and (silent or not self._queue.room) else ()
            if (overdue := self._losses.overdue(in_flight, now_s)) is not None:
                self._give_up(overdue)

    def silence_ended(self, answered_s: float) -> None:
        """Handles the first answer after a silence, to what was sent at this time: what left before will have none."""
        self._losses.silence_ended(answered_s)

    def _find(self, ack: Acknowledgement) -> None:
        """Takes note of an answer to a message that was given up."""
        if ack.sequence in self._given_up and ack.status in _DECODED:
            for frame in self._given_up.pop(ack.sequence).frames:
                self._observer.found(frame, Fate.LATE if ack.status is AckStatus.LATE else Fate.ACKNOWLEDGED)

    def _give_up(self, lost: InFlight) -> None:
        self._given_up[lost.sequence] = lost
        if len(self._given_up) > MAX_WINDOW:
            del self._given_up[next(iter(self._given_up))]
        self._session.lose(lost.sequence)
        self._queue.acknowledged(lost.sequence)
        self._finish_all(lost, Fate.LOST)
        self._queue.notify()

    def on_acknowledgement(self, ack: Acknowledgement) -> LinkSample | None:
        """Handles the answer to a frame.

        Returns:
            What it measured; None if it rejects the frame, or the frame is not in flight.

        Raises:
            PeerError: the receiver rejects every frame, or always the same one, answers what was never sent, or again
                and again what is not in flight, says impossible times, or drops frames of a session that is not live.
        """
        self._check_sent(ack)
        sample = None
        if ack.status is AckStatus.REJECTED:
            self._reject(ack)
        else:
            sample = self._deliver(ack)
        self._queue.notify()
        return sample

    def _deliver(self, ack: Acknowledgement) -> LinkSample | None:
        if ack.status is AckStatus.LATE and not self._session.live:
            raise PeerError(f"the receiver dropped frame {ack.sequence} of a session that loses none")
        in_flight = self._queue.acknowledged(ack.sequence)
        self._session.acknowledge(ack.sequence, decoded=in_flight is not None and ack.status in _DECODED)
        answered = in_flight or self._losses.late(ack.sequence, self._clock.monotonic())
        if answered is None:
            self._expect_no_more(ack)
            return None
        self._rejections = self._unexpected = 0
        sample = self._measurement.sample(ack, answered)
        self._congestion_window.update(sample, self._clock.monotonic_ms())
        self._resize()
        self._observer.acknowledged(in_flight.frames if in_flight else (), sample)
        if in_flight is None:
            return sample
        # On a lossy stream a later one has overtaken a duplicate, and was handled: this one never is.
        overtaken = Fate.LOST if self._lossy else Fate.ACKNOWLEDGED
        fates = {AckStatus.LATE: Fate.LATE, AckStatus.DUPLICATE: overtaken}
        self._finish_all(in_flight, fates.get(ack.status, Fate.ACKNOWLEDGED))
        return sample

    def _check_sent(self, ack: Acknowledgement) -> None:
        """Raises PeerError for an answer to what was never sent on this stream."""
        unparsed = ack.sequence == NO_SEQUENCE and ack.status is AckStatus.REJECTED
        if unparsed or ack.sequence in self._messages:
            return
        if not self._messages or ack.sequence > max(self._messages) or ack.sequence == NO_SEQUENCE:
            raise PeerError(f"the receiver acknowledged frame {ack.sequence}, which was never sent: {_FAULTY}")
        if self._lossy or ack.sequence < min(self._messages):
            # A number from long ago may be taken for another one.
            self._expect_no_more(ack)
        else:
            raise PeerError(f"the receiver acknowledged frame {ack.sequence}, which left in no message: {_FAULTY}")

    def _expect_no_more(self, ack: Acknowledgement) -> None:
        """Counts an answer to a frame that is not in flight."""
        self._unexpected += 1
        if self._unexpected == 1:
            logger.warning("the receiver acknowledged frame %d, which is not in flight", ack.sequence)
        if self._unexpected >= _MAX_UNEXPECTED_IN_A_ROW:
            raise PeerError(f"the receiver acknowledged {self._unexpected} frames that were not in flight: {_FAULTY}")

    def _reject(self, ack: Acknowledgement) -> None:
        follows = self._session.is_unsure(ack.sequence)
        self._session.reject(ack.sequence)
        in_flight = self._queue.rejected(ack.sequence)
        if follows:
            # It was predicted from a frame that did not arrive, or that was rejected before it.
            self._losses.lost(self._clock.monotonic())
        else:
            self._rejections += 1
        level = logging.DEBUG if follows else logging.WARNING
        logger.log(level, "the receiver rejected frame %d: %s", ack.sequence, ack.reason)
        if in_flight is not None:
            self._rejections_of[ack.sequence] = self._rejections_of.get(ack.sequence, 0) + 1
            if self._session.live:
                self._finish_all(in_flight, Fate.LOST if follows else Fate.REJECTED)
        if self._rejections >= _MAX_REJECTIONS:
            raise PeerError(f"the receiver rejected {self._rejections} frames in a row: {ack.reason}")
        if self._rejections_of.get(ack.sequence, 0) >= _MAX_REJECTIONS:
            raise PeerError(f"the receiver rejected frame {ack.sequence} {_MAX_REJECTIONS} times: {ack.reason}")

    def _finish_all(self, message: InFlight, fate: Fate) -> None:
        for frame in message.frames:
            self._finish(frame, fate)

    def _finish(self, frame: LabelFrame, fate: Fate) -> None:
        self._rejections_of.pop(frame.sequence, None)
        self._ahead.ended(frame.sequence, superseded=fate is Fate.SUPERSEDED)
        self._observer.ended(frame, fate)

    def _resize(self) -> None:
        delayed = self._delayed_acknowledgement.room if self._session.live else 0
        self._queue.size = min(self._congestion_window.frames + delayed, self._most_in_flight)
