"""What the sender opens before its networks' library is imported, which takes seconds: a camera that is missing, or a
port that is in use, is told at once."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from rich.console import Console

from common.io.config import MetricsConfig
from common.io.logs import start_logging
from common.io.telemetry import MetricsServer, publish_build
from common.version import build_versions
from common.weights.manifest import model_hash
from sender.capture.open import camera_name, open_source
from sender.capture.source import FrameSource
from sender.config import SenderConfig
from sender.link.transport.handshake import StreamOpener
from sender.link.transport.transport import Transport
from sender.metrics import SenderMetrics, together
from sender.spool.spool import Spool, open_spool


@dataclass(frozen=True, slots=True)
class OpenCamera:
    """What is open of one camera.

    Args:
        name: what tells it from the others; empty without others.
        config: its own (`SenderConfig.by_camera`).
        spool: undelivered frames on disk; None without `--delivery complete`.
    """

    name: str
    config: SenderConfig
    metrics: SenderMetrics
    source: FrameSource
    spool: Spool | None


@dataclass(frozen=True, slots=True)
class Openings:
    """What is open.

    Args:
        console: shows the status line, if there is a terminal.
        networks: hash of the weights that both ends must have.
    """

    console: Console | None
    transport: StreamOpener
    networks: bytes
    cameras: Sequence[OpenCamera]


@contextmanager
def opened(config: SenderConfig) -> Iterator[Openings]:
    """Starts logging, and opens sources, spools and metrics server; they are closed when the context ends.

    Raises:
        SourceError: the source cannot be opened.
        OutputError: the spool or the metrics address cannot be opened.
        WeightsError: trained weights are missing.
    """
    console = start_logging(config.logging, "sender")
    transport = transport_of(config)
    networks, configs = model_hash(), config.by_camera()
    with ExitStack() as resources:
        cameras = list[OpenCamera]()
        for number, each in enumerate(configs, 1):
            only, camera = len(configs) == 1, each.capture.only_camera
            # Processor time and memory are those of the process, and counted once.
            metrics = SenderMetrics(CollectorRegistry() if cameras else None)
            source = resources.enter_context(open_source(camera, each.capture, metrics, patient=not only))
            if not source.live:  # a camera reports its own state
                metrics.camera_up(True)
            spool = resources.enter_context(open_spool(each.delivery, camera, networks))
            name = "" if only else f"{number} ({camera_name(camera)})"
            cameras.append(OpenCamera(name, each, metrics, source, spool))
        resources.enter_context(_metrics_server(config.metrics, [camera.metrics for camera in cameras]))
        yield Openings(console, transport, networks, cameras)


def transport_of(config: SenderConfig) -> StreamOpener:
    """How streams to the receiver are opened; errors as of `opened`."""
    transport = Transport(config.security)
    wanted = config.link.transport
    if wanted == "grpc" or config.only_records:
        return transport
    # aioquic takes a while to import.
    from sender.link.transport.auto_transport import AutoTransport
    from sender.link.transport.quic_transport import QuicTransport

    opener = AutoTransport if wanted == "auto" else QuicTransport
    return opener(transport, config.link.round_trip_s)


def _metrics_server(config: MetricsConfig, cameras: Sequence[SenderMetrics]) -> AbstractContextManager[object]:
    registry = together(cameras)
    publish_build(registry, "sender", build_versions())
    return MetricsServer(config.metrics, registry) if config.metrics is not None else nullcontext()
