"""The receiver's command line: `receiver --listen host:port --out DIR`."""

import asyncio
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch

from common.codec.packet import CODEC_VERSION
from common.errors import exit_code_of
from common.io.configuration import read_configuration
from common.io.logs import LogConfiguration
from common.io.telemetry import MetricsConfiguration, MetricsServer
from common.weights.loader import model_hash
from receiver.diffusion.stage import SamplingConfig
from receiver.engine.reconstruction import Reconstructor
from receiver.link.auth.security import SecurityConfiguration
from receiver.link.server import LinkServer, ListenConfiguration
from receiver.link.session import SessionRegistry
from receiver.metrics import ReceiverMetrics
from receiver.pipeline import PacketDecoder, ReceiverPipeline
from receiver.publish.session_directory import PublishConfiguration, SessionDirectory
from receiver.surface.surface import SurfaceConfiguration


@dataclass(frozen=True, slots=True)
class ReceiverConfiguration:
    """All of the receiver, a component each."""

    listen: ListenConfiguration = field(default_factory=ListenConfiguration)
    security: SecurityConfiguration = field(default_factory=SecurityConfiguration)
    publish: PublishConfiguration = field(default_factory=PublishConfiguration)
    diffusion: SamplingConfig = field(default_factory=SamplingConfig)
    surface: SurfaceConfiguration = field(default_factory=SurfaceConfiguration)
    metrics: MetricsConfiguration = field(default_factory=MetricsConfiguration)
    logging: LogConfiguration = field(default_factory=LogConfiguration)


async def serve(configuration: ReceiverConfiguration) -> None:
    """Receives until SIGTERM or SIGINT, then finishes the frames in hand."""
    configuration.security.check(configuration.listen.listen)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    metrics = ReceiverMetrics()
    address = configuration.metrics.metrics
    with (
        SessionDirectory(configuration.publish) as directory,
        MetricsServer(address, metrics.registry) if address else nullcontext(),
    ):
        reconstructor = Reconstructor.load(configuration.diffusion, configuration.surface, metrics)
        networks = model_hash()
        pipeline = ReceiverPipeline(reconstructor, directory, metrics)
        registry = SessionRegistry(lambda: PacketDecoder(networks))
        server = LinkServer(
            configuration.listen,
            pipeline,
            registry,
            model_hash=networks,
            codec_version=CODEC_VERSION,
            security=configuration.security,
        )
        try:
            bound = await server.start()
            print(f"listening on {bound}", flush=True)
            await stop.wait()
        finally:
            await server.stop()
            pipeline.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the receiver and returns its exit code."""

    def work() -> None:
        configuration = read_configuration(ReceiverConfiguration, "receiver", arguments)
        configuration.logging.start("receiver")
        # Small networks on few cores: more threads than one fight over them.
        torch.set_num_threads(1)
        asyncio.run(serve(configuration))

    return exit_code_of("receiver", work)


if __name__ == "__main__":
    sys.exit(main())
