"""The way of a frame at the sender.

capture ─ perception ─ semantics ─ [ importance ─ rate ─ codec ] ─ link
                           │         at the moment a frame leaves     │
                           └─ colours of people's surface ─ bulk ─────┘
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal, Protocol

from common.blobs import COLOURS, Blob
from common.clock import SYSTEM_CLOCK, Clock
from common.codec.frame_codec import EncodedFrame, FrameCodec
from common.errors import PeerError, SourceError
from common.frames import LabelFrame, PersonLabels
from common.labels import GROUP_NAMES
from common.wire.convert import Welcome
from sender.capture.source import CapturedFrame, FrameSource
from sender.congestion.packet_train import PacketTrainSample
from sender.congestion.samples import LinkSample
from sender.importance.importance import Importance
from sender.link.encoder import Payload
from sender.link.observer import Fate, LinkObserver
from sender.metrics import FrameFate, SenderMetrics
from sender.perception.stage import ObservedPerson, PerceptionStage
from sender.preview.open import Preview
from sender.rate.controller import RateController
from sender.semantics.stage import SemanticsStage
from sender.texture.stage import TextureStage

# How long the frames in flight may take when the sender is told to stop; those that are kept can leave another time.
_STOPPING_S, _STOPPING_KEPT_S = 10.0, 2.0


class RatedEncoder:
    """The codec at the rate that the link can carry at the moment a frame leaves: ω → ρ (17) → bytes."""

    def __init__(self, codec: FrameCodec, importance: Importance, rate: RateController, metrics: SenderMetrics) -> None:
        self._codec = codec
        self._importance = importance
        self._rate = rate
        self._metrics = metrics

    def encode(self, frame: LabelFrame) -> EncodedFrame:
        with self._metrics.stage("codec"):
            rho = self._rate.rho(self._weights(frame))
            encoded = self._codec.encode(frame, rho)
        for group, value in rho.items():
            self._metrics.set_rate(group, value)
        return encoded

    def acknowledge(self, sequence: int) -> None:
        self._codec.acknowledge(sequence)

    def reset(self) -> None:
        self._codec.reset()

    def _weights(self, frame: LabelFrame) -> Mapping[str, float]:
        """ω of the most prominent person; of anybody where there is none."""
        if not frame.people:
            return dict.fromkeys(GROUP_NAMES, 1.0)
        return self._importance.weights(frame.people[0])


class LinkAccount(LinkObserver):
    """Passes what the link measures on to rate control and metrics, and counts for the closing line."""

    def __init__(self, rate: RateController, metrics: SenderMetrics, clock: Clock = SYSTEM_CLOCK) -> None:
        self._rate = rate
        self._metrics = metrics
        self._clock = clock
        self.acknowledged_frames = 0
        self.payload_bytes = 0
        self.probing_bytes = 0
        self.blob_bytes = 0

    def connected(self, welcome: Welcome) -> None:
        self._rate.on_connected()
        self._metrics.peer_connected(True)

    def disconnected(self, reason: str) -> None:
        self._metrics.peer_connected(False)

    def sent(self, frame: LabelFrame, encoded: Payload, *, again: bool) -> None:
        assert isinstance(encoded, EncodedFrame)
        self.payload_bytes += len(encoded.payload)
        self._rate.on_sent(frame.sequence, len(encoded.payload), self._clock.monotonic_ms())
        self._metrics.frame_sent({group: round(share) for group, share in encoded.bytes_by_group.items()})

    def acknowledged(self, frame: LabelFrame, sample: LinkSample) -> None:
        self._rate.on_acknowledged(sample, self._clock.monotonic_ms())
        self._metrics.frame_acknowledged(sample.round_trip_time_ms)
        state = self._rate.state
        self._metrics.set_link(state.bandwidth_bps or 0.0, state.delay_ms or 0.0, state.capacity.bps or 0.0)

    def blob_bytes_sent(self, data_bytes: int) -> None:
        self.blob_bytes += data_bytes
        self._metrics.blob_bytes_sent(data_bytes)

    def probed(self, told: PacketTrainSample) -> None:
        self.probing_bytes += told.wire_bytes
        self._rate.on_packet_train(told, self._clock.monotonic_ms())

    def one_way_delay(self, one_way_ms: float) -> None:
        self._rate.on_one_way_delay(one_way_ms, self._clock.monotonic_ms())

    def ended(self, frame: LabelFrame, fate: Fate) -> None:
        if fate is Fate.ACKNOWLEDGED:
            self.acknowledged_frames += 1
        else:
            self._metrics.frame_dropped(FrameFate.REPLACED if fate is Fate.SUPERSEDED else FrameFate.UNACKNOWLEDGED)


class Delivery(Protocol):
    """Where the pipeline's frames go: the link itself, or a spool before it."""

    async def send(self, frame: LabelFrame) -> None:
        """Takes a frame, at once or when there is room. Raises PeerError: the receiver is gone for good."""

    def post(self, blob: Blob) -> None:
        """Takes something bulky, which goes in the gaps between frames, if there are any."""

    async def drain(self) -> None:
        """Waits until every frame has met its fate. Raises PeerError: the receiver is gone for good."""


class SenderPipeline:
    """Runs a source through perception and semantics into the link; the networks run in a worker thread.

    Args:
        first_sequence: of the next frame; an earlier run has taken in those before it, which a file begins with.
        kept: what is not delivered when the sender has to stop is not lost.
        texture stage: learns the colours of people's surface while they are watched; they are not sent without.
    """

    def __init__(
        self,
        source: FrameSource,
        perception: PerceptionStage,
        semantics: SemanticsStage,
        link: Delivery,
        rate: RateController,
        metrics: SenderMetrics,
        *,
        first_sequence: int = 0,
        kept: bool = False,
        realtime: bool = False,
        preview: Preview | None = None,
        texture_stage: TextureStage | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._source = source
        self._perception = perception
        self._semantics = semantics
        self._link = link
        self._rate = rate
        self._metrics = metrics
        self._realtime = realtime and not source.live
        self._preview = preview
        self._texture_stage = texture_stage
        self._clock = clock
        self._sequence = first_sequence
        self._kept = kept
        self._ended = False
        self._last_source = ""
        self._began_s: float | None = None

    @property
    def finished(self) -> bool:
        """Whether the source has been seen to its end; a live one ends when it is told to."""
        return self._ended or self._source.live

    async def run(self, stop: asyncio.Event) -> None:
        """Sends every frame of a file, or live frames until `stop`; then waits for the last acknowledgement.

        Raises:
            SourceError: the source cannot be read; what was captured before is delivered first.
            PeerError: the receiver is gone for good.
        """
        stopped = asyncio.create_task(stop.wait())
        failure: SourceError | None = None
        with ThreadPoolExecutor(max_workers=2, thread_name_prefix="frame") as workers:
            try:
                await self._send_all(iter(self._source), workers, stopped)
            except SourceError as error:
                failure = error
            finally:
                self._source.close()
        await self._drain(stopped)
        if failure is not None:
            raise failure

    async def _send_all(
        self, frames: Iterator[CapturedFrame], workers: ThreadPoolExecutor, stopped: "asyncio.Task[Literal[True]]"
    ) -> None:
        loop = asyncio.get_running_loop()
        while not stopped.done():
            reading = loop.run_in_executor(workers, self._read, frames)
            await asyncio.wait((reading, stopped), return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                # A live source blocks until its next picture; closing it ends the wait.
                self._source.close()
            frame = await reading
            if frame is None or stopped.done():
                self._ended = frame is None and not stopped.done()
                return
            if not self._source.live and frame.sequence < self._sequence:
                continue
            labels, blobs = await loop.run_in_executor(workers, self._label, await self._pace(frame))
            for blob in blobs:
                self._link.post(blob)
            self._rate.on_offered(self._clock.monotonic_ms())
            sending = asyncio.ensure_future(self._link.send(labels))
            await asyncio.wait((sending, stopped), return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                sending.cancel()
                return
            await sending

    async def _drain(self, stopped: "asyncio.Task[Literal[True]]") -> None:
        """Waits for the last acknowledgement; without end for a file, for a while when told to stop."""
        draining = asyncio.ensure_future(self._link.drain())
        await asyncio.wait((draining, stopped), return_when=asyncio.FIRST_COMPLETED)
        try:
            patience_s = _STOPPING_KEPT_S if self._kept else _STOPPING_S
            await asyncio.wait_for(draining, None if draining.done() else patience_s)
        except TimeoutError:
            if not self._kept:
                told = "the receiver did not acknowledge the last frames before the sender had to stop"
                raise PeerError(told) from None
        finally:
            stopped.cancel()

    def _read(self, frames: Iterator[CapturedFrame]) -> CapturedFrame | None:
        with self._metrics.stage("capture"):
            return next(frames, None)

    async def _pace(self, frame: CapturedFrame) -> CapturedFrame:
        """A file in real time waits for its frame's moment; otherwise frames go as fast as the link takes them."""
        if not self._realtime:
            return frame
        if self._began_s is None:
            self._began_s = self._clock.monotonic() - frame.media_time_s
        await asyncio.sleep(max(0.0, self._began_s + frame.media_time_s - self._clock.monotonic()))
        return replace(frame, captured_at=self._clock.wall())

    def _label(self, frame: CapturedFrame) -> tuple[LabelFrame, list[Blob]]:
        """Perception and semantics; a frame without anybody is sent too, so that the receiver knows."""
        if frame.source != self._last_source:
            self._perception.reset()
            self._semantics.reset()
            if self._texture_stage is not None:
                self._texture_stage.reset()
            self._last_source = frame.source
        with self._metrics.stage("perception"):
            observed = self._perception.process(frame.image, frame.camera)
        if self._preview is not None:
            with self._metrics.stage("preview"):
                self._preview.show(frame, observed)
        with self._metrics.stage("semantics"):
            people = self._semantics.label(observed, frame.camera, frame.media_time_s)
        if not people:
            self._metrics.frame_dropped(FrameFate.EMPTY)
        blobs = self._colours(frame, observed, people)
        labels = LabelFrame(self._sequence, frame.source, frame.captured_at, frame.camera, people)
        self._sequence += 1
        return labels, blobs

    def _colours(
        self, frame: CapturedFrame, observed: Sequence[ObservedPerson], people: Sequence[PersonLabels]
    ) -> list[Blob]:
        if self._texture_stage is None:
            return []
        with self._metrics.stage("colours"):
            learnt = self._texture_stage.update(frame.image, frame.camera, observed, people)
        return [Blob(COLOURS, identity, data) for identity, data in learnt]
