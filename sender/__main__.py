"""The sender's command line: `sender --camera SOURCE --peer host:port`."""

import asyncio
import signal
import socket
import sys
import uuid
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.codec.frame_codec import FrameCodec
from common.codec.packet import CODEC_VERSION
from common.errors import exit_code_of
from common.io.configuration import option, read_config
from common.io.logs import LogConfig
from common.io.telemetry import MetricsConfig, MetricsServer
from common.weights.loader import model_hash
from common.wire.convert import Hello
from sender.capture.open import CaptureConfig, open_source
from sender.importance.importance import Importance
from sender.link.client import LinkClient
from sender.link.configuration import LinkConfig
from sender.link.observer import Observers
from sender.link.transport.security import SecurityConfig
from sender.link.transport.transport import Transport
from sender.metrics import SenderMetrics
from sender.perception.stage import PerceptionStage, TrackingConfig
from sender.pipeline import LinkAccount, RatedEncoder, SenderPipeline
from sender.preview.open import PreviewConfig, open_preview
from sender.rate.controller import RateController
from sender.rate.policy import RateConfig
from sender.semantics.smoothing import SmoothingConfig
from sender.semantics.stage import SemanticsStage
from sender.spool.complete_delivery import CompleteDelivery, Outstanding
from sender.spool.open import DeliveryConfig, open_spool
from sender.spool.spool import Spool
from sender.texture.stage import TextureStage


@dataclass(frozen=True, slots=True)
class PlaybackConfig:
    """How a file is played."""

    realtime: bool = option(False, help="play a video file at its own pace instead of as fast as the link takes it")


@dataclass(frozen=True, slots=True)
class AppearanceConfig:
    """What is told of people's looks."""

    colours: bool = option(True, help="learn the colours of people's surface and send them beside the frames")


@dataclass(frozen=True, slots=True)
class SenderConfig:
    """All of the sender, a component each."""

    capture: CaptureConfig = field(default_factory=CaptureConfig)
    playback: PlaybackConfig = field(default_factory=PlaybackConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    smoothing: SmoothingConfig = field(default_factory=SmoothingConfig)
    appearance: AppearanceConfig = field(default_factory=AppearanceConfig)
    preview: PreviewConfig = field(default_factory=PreviewConfig)
    rate: RateConfig = field(default_factory=RateConfig)
    delivery: DeliveryConfig = field(default_factory=DeliveryConfig)
    link: LinkConfig = field(default_factory=LinkConfig)
    security: SecurityConfig = field(default_factory=SecurityConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    logging: LogConfig = field(default_factory=LogConfig)


async def send(config: SenderConfig) -> None:
    """Sends until the source ends, or SIGTERM or SIGINT; every frame that was sent is acknowledged then."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    transport = Transport(config.security)
    transport.check(config.link.peer)
    metrics = SenderMetrics()
    address, target = config.metrics.metrics, config.preview.preview
    networks = model_hash()
    with (
        open_source(config.capture, metrics) as source,
        open_spool(config.delivery, config.capture.camera, networks) as spool,
        MetricsServer(address, metrics.registry) if address else nullcontext(),
        closing(open_preview(target, config.capture.camera, source)) if target else nullcontext() as preview,
    ):
        perception = PerceptionStage.load(config.tracking)
        semantics = SemanticsStage.load(config.smoothing)
        rate = RateController(config.rate, getattr(source, "fps", None))
        encoder = RatedEncoder(FrameCodec(networks), Importance.load(), rate, metrics)
        account, outstanding = LinkAccount(rate, metrics), Outstanding()
        link = LinkClient(
            config.link if spool is None else config.link.patient(),
            _hello(networks, config.delivery.is_live(source), spool),
            encoder,
            observer=Observers(account, outstanding),
            pace=rate,
            transport=transport,
        )
        delivery = link if spool is None else CompleteDelivery(link, spool, outstanding)
        await delivery.connect()
        pipeline = SenderPipeline(
            source,
            perception,
            semantics,
            delivery,
            rate,
            metrics,
            first_sequence=spool.next_sequence if spool else 0,
            kept=spool is not None,
            realtime=config.playback.realtime,
            preview=preview,
            texture_stage=TextureStage(LabelSpace.load(), BodyModel.load()) if config.appearance.colours else None,
        )
        if spool is not None:
            metrics.watch_spool(lambda: spool.pending)
        try:
            await pipeline.run(stop)
        finally:
            await delivery.close()
        sent = f"sent {account.acknowledged_frames} frames, {account.payload_bytes} bytes of labels"
        print(f"{sent}, {account.blob_bytes} of colours", flush=True)
        if spool is not None:
            _settle(spool, pipeline.finished, config.delivery.spool)


def _hello(networks: bytes, live: bool, spool: Spool | None) -> Hello:
    hello = Hello(uuid.uuid4().bytes, socket.gethostname(), CODEC_VERSION, networks, live)
    if spool is None:
        return hello
    return replace(hello, session_id=spool.session_id, resume=spool.resumed, durable=True)


def _settle(spool: Spool, finished: bool, directory: Path) -> None:
    """Ends the session if all of it is delivered; otherwise says that it goes on."""
    if spool.pending:
        print(f"{spool.pending} frames wait in {directory} and leave when the sender is started again", flush=True)
    elif finished:
        spool.finish()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the sender and returns its exit code."""

    def work() -> None:
        config = read_config(SenderConfig, "sender", arguments)
        config.logging.start("sender")
        # Small networks on few cores: more threads than one fight over them.
        torch.set_num_threads(1)
        asyncio.run(send(config))

    return exit_code_of("sender", work)


if __name__ == "__main__":
    sys.exit(main())
