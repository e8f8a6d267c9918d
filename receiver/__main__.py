"""The receiver's command line: `receiver --listen HOST:PORT --out PATH`."""

import asyncio
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch

from common.codec.frame_codec import FrameCodec
from common.codec.packet import CODEC_VERSION
from common.errors import exit_code_of
from common.io.configuration import Program, read_config
from common.io.logs import LogConfig
from common.io.telemetry import MetricsConfig, MetricsServer
from common.version import version_line
from common.weights.devices import DeviceConfig
from common.weights.loader import model_hash
from receiver.diffusion.stage import SamplingConfig
from receiver.engine.local import BatchingConfig, LocalEngine
from receiver.engine.reconstructor import Reconstructor
from receiver.link.auth.tls import SecurityConfig
from receiver.link.server import LinkServer, ListenConfig
from receiver.link.session import SessionRegistry
from receiver.link.startup_line import startup_line
from receiver.metrics import ReceiverMetrics
from receiver.pipeline import ReceiverPipeline, SharingConfig
from receiver.publish.session_directory import PublishConfig, SessionDirectory
from receiver.surface.stage import SurfaceConfig

PROGRAM = Program(
    name="receiver",
    description="Receives people as semantic labels from senders, rebuilds each person as a watertight 3D mesh,\n"
    "and writes the meshes and one JSON line per frame to a directory.",
    examples=(
        ("receiver", "take senders on this machine, on port 50051; write to the directory out"),
        (
            "receiver --listen 0.0.0.0:50051 --insecure --out meshes --format ply",
            "take senders from any machine without encryption; write PLY files to the directory meshes",
        ),
        (
            "receiver --listen 0.0.0.0:50051 --tls-cert certs/receiver.pem --tls-key certs/receiver.key",
            "take senders from any machine, encrypted; deploy/certs makes the certificates",
        ),
    ),
    version=lambda: version_line("receiver"),
)


@dataclass(frozen=True, slots=True)
class ReceiverConfig:
    """The receiver's configuration by component."""

    listen: ListenConfig = field(default_factory=ListenConfig)
    security: SecurityConfig = field(default_factory=SecurityConfig)
    publish: PublishConfig = field(default_factory=PublishConfig)
    diffusion: SamplingConfig = field(default_factory=SamplingConfig)
    surface: SurfaceConfig = field(default_factory=SurfaceConfig)
    device: DeviceConfig = field(default_factory=DeviceConfig)
    batching: BatchingConfig = field(default_factory=BatchingConfig)
    sharing: SharingConfig = field(default_factory=SharingConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    logging: LogConfig = field(default_factory=LogConfig)


async def serve(config: ReceiverConfig) -> None:
    """Receives until SIGTERM or SIGINT, then finishes the frames in hand."""
    config.security.check(config.listen.listen)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    metrics = ReceiverMetrics()
    address = config.metrics.metrics
    with (
        SessionDirectory(config.publish) as directory,
        MetricsServer(address, metrics.registry) if address else nullcontext(),
    ):
        reconstructor = Reconstructor.load(config.diffusion, config.surface, config.device.resolve())
        networks = model_hash()
        engine = LocalEngine(reconstructor, config.batching)
        pipeline = ReceiverPipeline(engine, directory, metrics, sharing=config.sharing)
        registry = SessionRegistry(lambda: FrameCodec(networks))
        server = LinkServer(
            config.listen,
            pipeline,
            registry,
            model_hash=networks,
            codec_version=CODEC_VERSION,
            security=config.security,
            on_refused=metrics.stream_refused,
        )
        try:
            bound = await server.start()
            print(startup_line(bound, config.security), flush=True)
            await stop.wait()
        finally:
            await server.stop()
            await pipeline.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the receiver and returns its exit code."""

    def work() -> None:
        config = read_config(ReceiverConfig, PROGRAM, arguments)
        config.logging.start("receiver")
        # Small networks on few cores: more threads than one fight over them.
        torch.set_num_threads(1)
        asyncio.run(serve(config))

    return exit_code_of("receiver", work)


if __name__ == "__main__":
    sys.exit(main())
