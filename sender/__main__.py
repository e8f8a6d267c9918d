"""The sender's command line: `sender --camera SOURCE --peer host:port`."""

import asyncio
import signal
import socket
import sys
import uuid
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field

import torch

from common.codec.frame_codec import FrameCodec
from common.codec.packet import CODEC_VERSION
from common.configuration import option, read_configuration
from common.errors import exit_code_of
from common.logs import LogConfiguration
from common.nets.weights import model_hash
from common.telemetry import MetricsConfiguration, MetricsServer
from common.wire.convert import Hello
from sender.capture.open import CaptureConfiguration, open_source
from sender.importance.importance import Importance
from sender.link.client import LinkClient, LinkConfiguration
from sender.link.security import SecurityConfiguration
from sender.link.transport import Transport
from sender.metrics import SenderMetrics
from sender.perception.stage import PerceptionStage, TrackingConfig
from sender.pipeline import LinkAccount, RatedEncoder, SenderPipeline
from sender.preview.open import PreviewConfiguration, open_preview
from sender.rate.controller import RateController
from sender.rate.policy import RateConfiguration
from sender.semantics.smoothing import SmoothingConfiguration
from sender.semantics.stage import SemanticsStage


@dataclass(frozen=True, slots=True)
class PlaybackConfiguration:
    """How a file is played."""

    realtime: bool = option(False, help="play a video file at its own pace instead of as fast as the link takes it")


@dataclass(frozen=True, slots=True)
class SenderConfiguration:
    """All of the sender, a component each."""

    capture: CaptureConfiguration = field(default_factory=CaptureConfiguration)
    playback: PlaybackConfiguration = field(default_factory=PlaybackConfiguration)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    smoothing: SmoothingConfiguration = field(default_factory=SmoothingConfiguration)
    preview: PreviewConfiguration = field(default_factory=PreviewConfiguration)
    rate: RateConfiguration = field(default_factory=RateConfiguration)
    link: LinkConfiguration = field(default_factory=LinkConfiguration)
    security: SecurityConfiguration = field(default_factory=SecurityConfiguration)
    metrics: MetricsConfiguration = field(default_factory=MetricsConfiguration)
    logging: LogConfiguration = field(default_factory=LogConfiguration)


async def send(configuration: SenderConfiguration) -> None:
    """Sends until the source ends, or SIGTERM or SIGINT; every frame that was sent is acknowledged then."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    transport = Transport(configuration.security)
    transport.check(configuration.link.peer)
    metrics = SenderMetrics()
    address, target = configuration.metrics.metrics, configuration.preview.preview
    with (
        open_source(configuration.capture, metrics) as source,
        MetricsServer(address, metrics.registry) if address else nullcontext(),
        closing(open_preview(target, configuration.capture.camera, source)) if target else nullcontext() as preview,
    ):
        perception = PerceptionStage.load(configuration.tracking)
        semantics = SemanticsStage.load(configuration.smoothing)
        networks = model_hash()
        rate = RateController(configuration.rate, getattr(source, "fps", None))
        encoder = RatedEncoder(FrameCodec(networks), Importance.load(), rate, metrics)
        account = LinkAccount(rate, metrics)
        hello = Hello(uuid.uuid4().bytes, socket.gethostname(), CODEC_VERSION, networks, source.live)
        link = LinkClient(configuration.link, hello, encoder, observer=account, transport=transport)
        await link.connect()
        pipeline = SenderPipeline(
            source,
            perception,
            semantics,
            link,
            rate,
            metrics,
            realtime=configuration.playback.realtime,
            preview=preview,
        )
        try:
            await pipeline.run(stop)
        finally:
            await link.close()
        print(f"sent {account.acknowledged_frames} frames, {account.payload_bytes} bytes of labels", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the sender and returns its exit code."""

    def work() -> None:
        configuration = read_configuration(SenderConfiguration, "sender", arguments)
        configuration.logging.start("sender")
        # Small networks on few cores: more threads than one fight over them.
        torch.set_num_threads(1)
        asyncio.run(send(configuration))

    return exit_code_of("sender", work)


if __name__ == "__main__":
    sys.exit(main())
