"""Wires the sender's components from its configuration.

`sender.rated_encoder` binds the codec to importance and rate control, `sender.link_account` the link to rate control
and metrics; `compose` builds everything else.
"""

import asyncio
import secrets
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch
from rich.console import Console

from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.codec.frame_codec import FrameCodec
from common.codec.packet import CODEC_VERSION
from common.errors import UsageError
from common.io.startup import loaded, stop_on_signals
from common.io.status_line import StatusLine, showing
from common.recording.facts import RecordingFacts
from common.version import package_version
from common.weights.devices import resolve_device
from common.wire.convert import SESSION_SECRET_BYTES, Hello
from common.wire.traffic import Traffic
from sender.capture.source import FrameSource
from sender.clothing.stage import ClothingStage
from sender.config import SenderConfig
from sender.importance.importance import Importance
from sender.jscc.stage import JsccStage
from sender.link.client import LinkClient
from sender.link.config import LinkConfig
from sender.link.observer import Observers
from sender.link_account import LinkAccount
from sender.metrics import SenderMetrics
from sender.openings import Openings
from sender.perception.stage import PerceptionStage
from sender.pipeline import BlobStage, Networks, SenderPipeline
from sender.playback import Playback
from sender.preview.shared import SharedPreview
from sender.preview.video import Preview, open_preview
from sender.rate.controller import RateController
from sender.rated_encoder import RatedEncoder
from sender.recording.recorder import NoPeer, RecordedDelivery, SenderRecorder, open_recorder
from sender.reports import Reporter
from sender.semantics.stage import SemanticsStage
from sender.spool.complete_delivery import CompleteDelivery, Outstanding
from sender.spool.spool import Spool
from sender.status import SenderStatus
from sender.texture.stage import TextureStage
from sender.wears.stage import WearsReader, WearsStage

_PICTURES_IN_FLIGHT = 2


@dataclass(frozen=True, slots=True)
class Sender:
    """The sender's components, wired.

    Args:
        delivery: the link, behind the spool if there is one; not connected yet.
        spool: undelivered frames on disk; None without `--delivery complete`.
        recorder: None without `--record`.
    """

    pipeline: SenderPipeline
    delivery: LinkClient | CompleteDelivery | NoPeer
    account: LinkAccount
    traffic: Traffic
    status: SenderStatus
    spool: Spool | None
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
            await self.delivery.close()
            if self.recorder is not None:
                await asyncio.to_thread(self.recorder.close)
        if self.spool is not None and self.pipeline.finished and not self.spool.pending:
            self.spool.finish()

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
            for task in (connecting, stopping):
                task.cancel()
            await asyncio.gather(connecting, stopping, return_exceptions=True)

    def summary(self) -> list[str]:
        """Lines for the user: what was sent and recorded, and what is still in the spool."""
        account = self.account
        sent = f"sent {account.acknowledged_frames} frames: {self.traffic.summary()}"
        lines = [] if isinstance(self.delivery, NoPeer) else [sent]
        if self.recorder is not None:
            lines.append(self.recorder.summary())
        if self.spool is not None and self.spool.pending:
            waiting = f"{self.spool.pending} frames wait in {self.spool.directory}"
            lines.append(f"{waiting} and will be sent when the sender is started again")
        return lines


def send(config: SenderConfig, opened: Openings, announce: Callable[[str], None]) -> None:
    """Sends until the source ends, or until SIGTERM, SIGINT or SIGHUP; then waits for the last acknowledgements.

    Until the sender connects, SIGTERM ends the process at once, and SIGINT raises KeyboardInterrupt.

    Raises:
        BodywireError: see `compose` and `Sender.run`.
    """
    # The networks are small: with more threads than one, they compete for the few cores.
    torch.set_num_threads(1)
    with compose(config, opened) as sender:
        loaded()
        asyncio.run(_run_until_signal(sender, opened.console))
        for line in sender.summary():
            announce(line)


async def _run_until_signal(sender: Sender, console: Console | None) -> None:
    stop = asyncio.Event()
    stop_on_signals(stop)
    with showing(StatusLine("sender", sender.status.parts), console):
        await sender.run(stop)


@contextmanager
def compose(config: SenderConfig, opened: Openings) -> Iterator[Sender]:
    """Opens preview and recording, loads the networks, and wires all components.

    What it opens is closed when the context ends.

    Raises:
        UsageError: options contradict each other, or this machine lacks the GPU of `--device`.
        OutputError: the preview or the recording cannot be opened.
        WeightsError: trained weights are missing, damaged or of another version.
    """
    source, spool, metrics = opened.source, opened.spool, opened.metrics
    with ExitStack() as resources:
        rate = RateController(config.rate, source.fps, config.link.budget_bps)
        hello = _hello(opened.networks, config.delivery.is_live(camera=source.live), spool)
        recorder = resources.enter_context(open_recorder(config.recording.record, _facts(hello)))
        jscc = resources.enter_context(_jscc_stage(config, source, metrics))
        preview = None
        if config.preview.preview is not None:
            preview = open_preview(config.preview.preview, config.capture.camera, source)
            resources.callback(preview.close)
        traffic = Traffic(metrics.link_bytes)
        account, status = LinkAccount(rate, metrics), SenderStatus(rate, metrics, source, traffic)
        delivery: LinkClient | CompleteDelivery | NoPeer = NoPeer(status.recorded)
        if not config.only_records:
            delivery = _delivery(config.link, opened, hello, rate, traffic, account, status)
        playback = Playback(
            source,
            metrics,
            first_sequence=spool.next_sequence if spool else 0,
            realtime=config.playback.realtime,
            skips_late=config.playback.realtime and config.delivery.is_live(camera=source.live),
        )
        pipeline = SenderPipeline(
            playback,
            load_networks(config, source, metrics),
            _blob_stages(config, source, preview, jscc),
            delivery if recorder is None else RecordedDelivery(delivery, recorder),
            rate,
            metrics,
            durable=spool is not None,
        )
        yield Sender(pipeline, delivery, account, traffic, status, spool, recorder)


def _delivery(
    config: LinkConfig,
    opened: Openings,
    hello: Hello,
    rate: RateController,
    traffic: Traffic,
    account: LinkAccount,
    status: SenderStatus,
) -> LinkClient | CompleteDelivery:
    """The link, behind the spool if there is one."""
    source, spool, metrics = opened.source, opened.spool, opened.metrics
    if source.stills:
        # Pictures bring all colours of their people, which the receiver keeps until their frame's turn.
        config = replace(config, window=min(config.window, _PICTURES_IN_FLIGHT))
    # No later frame refines what a picture shows.
    codec = FrameCodec(opened.networks, progressive=not source.stills)
    outstanding = Outstanding()
    link = LinkClient(
        config if spool is None else config.without_timeouts(),
        hello,
        RatedEncoder(codec, Importance.load(), rate, metrics),
        observer=Observers(account, status, outstanding),
        pacer=rate,
        report=Reporter(rate, metrics, stills=source.stills, interval_s=config.pause_factor).due,
        transport=opened.transport,
        probes=rate.follows_capacity,
        traffic=traffic,
    )
    delivery = link if spool is None else CompleteDelivery(link, spool, outstanding)
    metrics.watch_link(lambda: link.window, lambda: delivery.outstanding)
    if spool is not None:
        metrics.watch_spool(lambda: spool.pending)
    return delivery


def _facts(hello: Hello) -> RecordingFacts:
    """The first block of the recording of a session."""
    model, version = hello.model_hash.hex(), package_version()
    return RecordingFacts(hello.codec_version, model, "sender", version, hello.sender, hello.live)


def load_networks(config: SenderConfig, source: FrameSource, metrics: SenderMetrics) -> Networks:
    """The networks that label the people of a source; errors as of `compose`."""
    device = resolve_device(config.device.device)
    perception = PerceptionStage.load(config.tracking, device, live=source.live)
    metrics.follows_up_to(perception.max_people)
    return Networks(perception, SemanticsStage.load(config.smoothing, device), ClothingStage.load(device))


def _blob_stages(
    config: SenderConfig, source: FrameSource, preview: Preview | None, jscc: JsccStage | None
) -> list[BlobStage]:
    """All that is made of observed people beside their labels: a new kind of blob has its stage here."""
    stages = (
        preview,
        TextureStage(LabelSpace.load(), BodyModel.load(), stills=source.stills) if config.appearance.colours else None,
        SharedPreview() if config.preview.share_preview else None,
        WearsStage(WearsReader.load(resolve_device(config.device.device)), stills=source.stills),
        jscc,
    )
    return [stage for stage in stages if stage is not None]


def _jscc_stage(
    config: SenderConfig, source: FrameSource, metrics: SenderMetrics
) -> AbstractContextManager[JsccStage | None]:
    channel = config.channel.state
    if channel is None:
        return nullcontext()
    if source.stills and not source.ends:
        raise UsageError("--channel sends video: pictures of other programs (--camera socket:) are none")
    return closing(JsccStage(channel, config.channel.rate, metrics))


def _hello(networks: bytes, live: bool, spool: Spool | None) -> Hello:
    """The first message of the session, which is durable with a spool and may resume the spool's last one."""
    if spool is None:
        session, secret = uuid.uuid4().bytes, secrets.token_bytes(SESSION_SECRET_BYTES)
    else:
        session, secret = spool.session_id, spool.session_secret
    hello = Hello(session, socket.gethostname(), CODEC_VERSION, networks, live, session_secret=secret)
    return hello if spool is None else replace(hello, resume=spool.resumed, durable=True)
