"""Wires the sender's components from its configuration.

`sender.rate.rated_encoder` binds the codec to importance and rate control, `sender.link_account` the link to rate
control and metrics; `compose` builds everything else.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace

from rich.console import Console, Group

from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.codec.frame_codec import FrameCodec
from common.errors import BodywireError
from common.io.logs import SUBJECT
from common.io.startup import freeze_garbage, stop_on_signals
from common.io.status_line import StatusLine, bit_rate, duration, showing
from common.io.tasks import cancel
from common.motion.network import LearnedMotion
from common.text import counted
from common.weights.devices import resolve_device
from common.weights.threads import available_cores, limit_threads
from common.wire.convert import Hello
from common.wire.traffic import Traffic
from sender.attributes.kind_reader import KindStage
from sender.capture.source import FrameSource
from sender.config import SenderConfig
from sender.image_channel import JsccStage
from sender.importance import Importance
from sender.labelling import BlobStage, Networks
from sender.link.client import LinkClient
from sender.link.session import Observers
from sender.link_account import LinkAccount, Reporter
from sender.openings import OpenCamera, Openings, Outputs
from sender.pipeline import SenderPipeline
from sender.playback import Playback
from sender.preview.video import Preview, SharedPreview
from sender.rate.controller import RateController
from sender.rate.rated_encoder import LabelsAhead, RatedEncoder
from sender.recorder import NoPeer, RecordedDelivery, SenderRecorder, open_recorder
from sender.status import SenderStatus
from sender.texture.texture_stage import TextureStage

logger = logging.getLogger(__name__)

_PICTURES_IN_FLIGHT = 2
# Of a camera's frames, one is perceived, one labelled, and of one blobs are made.
_STEPS_AT_A_TIME = 3


@dataclass(frozen=True, slots=True)
class Sender:
    """The components of one camera's session, wired.

    Args:
        camera: its source is closed in the end, its spool is not.
        delivery: the link, not connected yet.
        recorder: None without `--record`.
    """

    camera: OpenCamera
    pipeline: SenderPipeline
    delivery: LinkClient | NoPeer
    account: LinkAccount
    traffic: Traffic
    status: SenderStatus
    recorder: SenderRecorder | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Connects, sends until the source ends or `stop` is set, and waits for the last acknowledgements.

        The spool's session ends when its source has ended and all of its frames are delivered.

        Raises:
            SourceError: the source cannot be read.
            PeerError: the receiver cannot be reached, or refuses the session.
            OutputError: the spool cannot be written.
        """
        try:
            if await self._connected(stop):
                await self.pipeline.run(stop)
        finally:
            self.camera.source.close()
            await self.delivery.close()
            if self.recorder is not None:
                await asyncio.to_thread(self.recorder.close)
        spool = self.camera.spool
        if spool is not None and self.pipeline.finished and not spool.pending:
            spool.finish()

    async def _connected(self, stop: asyncio.Event) -> bool:
        """Connects; False if `stop` is set before there is a connection."""
        connecting = asyncio.ensure_future(self.delivery.connect())
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait((connecting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if connecting.done():
                await connecting
            return connecting.done()
        finally:
            await cancel([connecting, stopping])

    def summary(self) -> list[str]:
        """Lines for the user: what was sent and recorded, and what is still in the spool."""
        spool, name = self.camera.spool, self.camera.name
        lines = [] if isinstance(self.delivery, NoPeer) else [self._sent()]
        # Of a camera the newest frames count.
        if self.camera.source.ends and (left_out := self.camera.metrics.left_out):
            others = self.account.acknowledged_frames + self.account.lost_frames
            lines.append(f"left out {left_out} of {counted(left_out + others, 'frame')} as too late")
        failures = self.camera.metrics.failures.most_common()
        lines += [f"{counted(n, 'frame')} went on without {part}, which failed" for part, n in failures]
        if self.recorder is not None:
            lines.append(self.recorder.summary())
        if spool is not None and spool.pending:
            waiting = f"{counted(spool.pending, 'frame waits', 'frames wait')} in {spool.directory}"
            lines.append(f"{waiting} and will be sent when the sender is started again")
        return [f"{name}: {line}" if name else line for line in lines]

    def _sent(self) -> str:
        """What was delivered, in which time, and, of a video, of how much of its own."""
        account, fps, elapsed_s = self.account, self.camera.source.fps, self.traffic.elapsed_s
        frames, sent = account.acknowledged_frames, f"sent {counted(account.sent_frames, 'frame')}"
        fates = (account.lost_frames, "not acknowledged"), (account.late_frames, "too late")
        if parts := [f"{count} {fate}" for count, fate in fates if count]:
            sent += f" ({', '.join(parts)})"
        if frames > 1 and elapsed_s > 0:
            video = f" of {fps:.0f} in a second of video" if fps else ""
            rates = f"{frames / elapsed_s:.1f} frames/s{video}, {bit_rate(self.traffic.mean_bps)}"
            sent += f" in {duration(1e3 * elapsed_s)} ({rates})"
        return f"{sent}: {self.traffic.summary()}"


def send(opened: Openings, announce: Callable[[str], None], networks: Networks | None = None) -> None:
    """Sends until all sources end, or until SIGTERM, SIGINT or SIGHUP; then waits for the last acknowledgements.

    Until the sender connects, SIGTERM ends the process at once, and SIGINT raises KeyboardInterrupt. A camera that
    fails does not end the others; the first failure is raised in the end.

    Args:
        networks: those that `compose` would load.

    Raises:
        BodywireError: see `compose` and `Sender.run`.
    """
    limit_threads()
    with compose(opened, networks) as senders:
        freeze_garbage()
        failures = asyncio.run(_run_until_signal(senders, opened.console))
        if len(senders) > 1 or not failures:
            for line in (line for sender in senders for line in sender.summary()):
                announce(line)
        if len(senders) > 1 and (frames := sum(sender.account.sent_frames for sender in senders)):
            announce(f"sent {counted(frames, 'frame')} of {len(senders)} cameras")
        if failures:
            raise failures[0]


async def _run_until_signal(senders: Sequence[Sender], console: Console | None) -> list[BodywireError]:
    """Runs all senders; returns what made some of them fail, in the order of time."""
    stop, failures = asyncio.Event(), list[BodywireError]()
    stop_on_signals(stop)

    async def run(sender: Sender) -> None:
        SUBJECT.set(sender.camera.name)
        try:
            await sender.run(stop)
        except BodywireError as error:
            failures.append(error)
            if sender.camera.name:
                logger.error("this camera's session has ended: %s", error)

    lines = Group(*(StatusLine(sender.camera.name or "sender", sender.status.parts) for sender in senders))
    with showing(lines, console):
        await asyncio.gather(*map(run, senders))
    return failures


@contextmanager
def compose(opened: Openings, loaded: Networks | None = None) -> Iterator[Sequence[Sender]]:
    """Loads the networks, and wires all components, of each camera its own.

    The cameras share the networks and the threads in which these run.  What is opened is closed when the context ends.

    Raises:
        UsageError: this machine lacks the GPU of `--device`.
        WeightsError: trained weights are missing, damaged or of another version.
    """
    cameras = opened.cameras
    with ExitStack() as resources:
        outputs = [
            (
                each,
                resources.enter_context(open_recorder(each.recording, opened.networks)),
                resources.enter_context(_jscc_stage(camera)),
            )
            for camera, each in zip(cameras, opened.outputs, strict=True)
        ]
        networks = load_networks(cameras, loaded)
        threads = _STEPS_AT_A_TIME * min(len(cameras), available_cores())
        workers = resources.enter_context(ThreadPoolExecutor(threads, "frame"))
        yield [
            _wire(camera, opened, *its_outputs, its_networks, workers)
            for camera, its_outputs, its_networks in zip(cameras, outputs, networks, strict=True)
        ]


def _wire(
    camera: OpenCamera,
    opened: Openings,
    outputs: Outputs,
    recorder: SenderRecorder | None,
    jscc: JsccStage | None,
    networks: Networks,
    workers: Executor,
) -> Sender:
    """The components of one camera."""
    config, source, spool, metrics = camera.config, camera.source, camera.spool, camera.metrics
    traffic = Traffic(metrics.link_bytes)
    rate = RateController(config.rate, source.fps, config.link.budget_bps, lambda: traffic.message_cost)
    account, status = LinkAccount(rate, metrics), SenderStatus(rate, metrics, source, traffic)
    delivery: LinkClient | NoPeer = NoPeer(status.recorded)
    if not config.only_records:
        ahead = LabelsAhead(lambda: workers.submit(LearnedMotion.load))
        delivery = _link(camera, opened, outputs.hello, rate, ahead, traffic, account, status)
    playback = Playback(
        source,
        metrics,
        first_sequence=spool.next_sequence if spool else 0,
        realtime=config.playback.realtime,
        skips_late=_leaves_out(camera),
    )
    pipeline = SenderPipeline(
        playback,
        networks,
        _blob_stages(config, source, outputs.preview, jscc),
        delivery if recorder is None else RecordedDelivery(delivery, recorder),
        rate,
        metrics,
        workers,
        durable=spool is not None,
    )
    return Sender(camera, pipeline, delivery, account, traffic, status, recorder)


def _link(
    camera: OpenCamera,
    opened: Openings,
    hello: Hello,
    rate: RateController,
    ahead: LabelsAhead,
    traffic: Traffic,
    account: LinkAccount,
    status: SenderStatus,
) -> LinkClient:
    """The link, with the spool behind it if there is one."""
    config, source, spool, metrics = camera.config.link, camera.source, camera.spool, camera.metrics
    if source.stills:
        # Pictures bring all colours of their people, which the receiver keeps until their frame's turn.
        config = replace(config, window=min(config.window, _PICTURES_IN_FLIGHT))
    # No later frame refines what a picture shows.
    codec = FrameCodec(opened.networks, progressive=not source.stills)
    link = LinkClient(
        config,
        hello,
        RatedEncoder(codec, Importance.load(), rate, metrics, ahead),
        observer=Observers(account, status),
        pacer=rate,
        report=Reporter(rate, metrics, stills=source.stills, interval_s=config.pause_factor).due,
        spool=spool,
        transport=opened.transport,
        gathers=source.fps is not None and not hello.live and not camera.config.playback.realtime,
        probes=rate.follows_capacity,
        traffic=traffic,
    )
    metrics.watch_link(lambda: link.window, lambda: link.outstanding)
    if spool is not None:
        metrics.watch_spool(lambda: spool.pending)
    return link


def load_networks(cameras: Sequence[OpenCamera], loaded: Networks | None = None) -> list[Networks]:
    """What labels the people of each camera, by the same networks; errors as of `compose`."""
    stages = list[Networks]()
    # What leaves late frames out is read as a camera is, so that fewer come late.
    live = [camera.source.live or _leaves_out(camera) for camera in cameras]
    for camera, is_live in zip(cameras, live, strict=True):
        first, carries = stages[0] if stages else loaded, sum(live) * is_live
        load = first.anew if first else Networks.load
        stages.append(load(camera.config, cameras=carries))
        camera.metrics.follows_up_to(stages[-1].perception.max_people)
    return stages


def _leaves_out(camera: OpenCamera) -> bool:
    """Whether late frames of a video are left out."""
    config = camera.config
    return config.playback.realtime and config.delivery.is_live(camera=camera.source.live)


def _blob_stages(
    config: SenderConfig, source: FrameSource, preview: Preview | None, jscc: JsccStage | None
) -> list[BlobStage]:
    """All that is made of observed people beside their labels: a new kind of blob has its stage here."""
    stages = (
        preview,
        TextureStage(LabelSpace.load(), BodyModel.load(), stills=source.stills, brief=source.brief)
        if config.appearance.colours
        else None,
        SharedPreview() if config.preview.share_preview else None,
        KindStage.load(resolve_device(config.device.device), stills=source.stills, brief=source.brief),
        jscc,
    )
    return [stage for stage in stages if stage is not None]


def _jscc_stage(camera: OpenCamera) -> AbstractContextManager[JsccStage | None]:
    channel = camera.config.channel
    return nullcontext() if channel.state is None else closing(JsccStage(channel.state, channel.rate, camera.metrics))
