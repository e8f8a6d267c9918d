"""What the sender opens before its networks' library is imported, which takes seconds: a camera that is missing, a port
that is in use, or a receiver that does not take this sender, is told at once."""

import asyncio
import secrets
import socket
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from rich.console import Console

from common.codec.packet import CODEC_VERSION
from common.errors import UsageError
from common.io.config import MetricsConfig
from common.io.logs import start_logging
from common.io.telemetry import MetricsServer, publish_build
from common.recording.format import RecordingFacts
from common.recording.writer import RecordingWriter
from common.version import build_versions, package_version
from common.weights.manifest import model_hash
from common.wire.convert import MAX_NAME_CHARACTERS, SESSION_SECRET_BYTES, Hello
from sender.capture.open import camera_name, open_source
from sender.capture.source import FrameSource
from sender.config import SenderConfig
from sender.link.connector import StreamOpener, find_receiver
from sender.link.transport import Transport
from sender.metrics import SenderMetrics, together
from sender.playback import has_time
from sender.preview.video import Preview, open_preview
from sender.spool import Spool, open_spool


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


class Outputs(NamedTuple):
    """What a camera's session begins with, and where it goes beside the link."""

    hello: Hello
    recording: RecordingWriter | None
    preview: Preview | None


@dataclass(frozen=True, slots=True)
class Openings:
    """What is open.

    Args:
        console: shows the status line, if there is a terminal.
        networks: hash of the weights that both ends must have.
        outputs: of each camera.
    """

    console: Console | None
    transport: StreamOpener
    networks: bytes
    cameras: Sequence[OpenCamera]
    outputs: Sequence[Outputs]


@contextmanager
def opened(config: SenderConfig, *, greets: bool = True) -> Iterator[Openings]:
    """Starts logging, opens all but the link, and looks for the receiver; all is closed when the context ends.

    Args:
        greets: whether to look for the receiver, because what follows takes seconds.

    Raises:
        UsageError: options contradict each other, or a certificate, key or token cannot be read.
        SourceError: the source cannot be opened.
        PeerError: there is no receiver in time, or it refuses this sender.
        OutputError: the spool, the metrics address, the preview or the recording cannot be opened.
        WeightsError: trained weights are missing.
    """
    console = start_logging(config.logging, "sender")
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
            if config.channel.channel is not None and source.stills and not source.ends:
                raise UsageError("--channel sends video: pictures of other programs (--camera socket:) are none")
            spool = resources.enter_context(open_spool(each.delivery, camera, networks))
            name = "" if only else f"{number} ({camera_name(camera)})"
            cameras.append(OpenCamera(name, each, metrics, source, spool))
        resources.enter_context(_metrics_server(config.metrics, [camera.metrics for camera in cameras]))
        transport = transport_of(config)
        with ExitStack() as in_vain:
            outputs = [_outputs(camera, hello_of(camera, networks), resources, in_vain) for camera in cameras]
            if greets and not config.only_records:
                asyncio.run(_greet(config, transport, networks))
            in_vain.pop_all()
        yield Openings(console, transport, networks, cameras, outputs)


def transport_of(config: SenderConfig) -> StreamOpener:
    """How streams to the receiver are opened; errors as of `opened`."""
    transport = Transport(config.security)
    wanted = config.link.transport
    if wanted == "grpc" or config.only_records:
        return transport
    # aioquic takes a while to import.
    from sender.link.quic_transport import AutoTransport, QuicTransport

    opener = AutoTransport if wanted == "auto" else QuicTransport
    return opener(transport, config.link.round_trip_s)


async def _greet(config: SenderConfig, transport: StreamOpener, networks: bytes) -> None:
    """Looks for the receiver, unless a handshake more would take a thin link as long as loading the networks."""
    link = config.link
    if link.pause_factor == 1.0:
        absent = config.delivery.delivery == "complete"
        name, timeout_s = socket.gethostname(), link.connect_timeout
        await find_receiver(transport, link.peer, name, networks, timeout_s, may_be_absent=absent)


def _metrics_server(config: MetricsConfig, cameras: Sequence[SenderMetrics]) -> AbstractContextManager[object]:
    registry = together(cameras)
    publish_build(registry, "sender", build_versions())
    return MetricsServer(config.metrics, registry) if config.metrics is not None else nullcontext()


def _outputs(camera: OpenCamera, hello: Hello, resources: ExitStack, in_vain: ExitStack) -> Outputs:
    """Opens preview and recording until `resources` are closed; `in_vain` removes what the next start cannot create."""
    config, recording, preview = camera.config, None, None
    if config.preview.preview is not None:
        preview = open_preview(config.preview.preview, config.capture.only_camera, camera.source)
        resources.callback(preview.close)
    if config.recording.record is not None:
        recording = RecordingWriter(config.recording.record, facts_of(hello))
        resources.callback(recording.close)
        in_vain.callback(recording.path.unlink, missing_ok=True)
    return Outputs(hello, recording, preview)


def facts_of(hello: Hello) -> RecordingFacts:
    """The first block of the recording of a session."""
    model, version = hello.model_hash.hex(), package_version()
    return RecordingFacts(hello.codec_version, model, "sender", version, hello.sender, hello.live, timely=hello.timely)


def hello_of(camera: OpenCamera, networks: bytes) -> Hello:
    """The first message of the session, which is durable with a spool and may resume the spool's last one."""
    live, spool = camera.config.delivery.is_live(camera=camera.source.live), camera.spool
    name = f"{socket.gethostname()} {camera.name}".strip()[:MAX_NAME_CHARACTERS]
    if spool is None:
        session, secret = uuid.uuid4().bytes, secrets.token_bytes(SESSION_SECRET_BYTES)
    else:
        session, secret = spool.session_id, spool.session_secret
    hello = Hello(session, name, CODEC_VERSION, networks, live, session_secret=secret, timely=_is_timely(camera))
    return hello if spool is None else replace(hello, resume=spool.resumed, durable=True)


def _is_timely(camera: OpenCamera) -> bool:
    """Whether no filter delays the labels of a camera's people."""
    source, config = camera.source, camera.config
    waits = has_time(source, realtime=config.playback.realtime)
    return waits or source.stills or not config.smoothing.smoothing
