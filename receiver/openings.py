"""What the receiver opens before its networks' library is imported, which takes seconds: a port or directory that is in
use, or a file that cannot be read, is told at once."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from common.codec.packet import CODEC_VERSION
from common.io.logs import start_logging
from common.io.telemetry import MetricsServer, publish_build
from common.recording.reader import Recording
from common.version import build_versions
from common.weights.manifest import check_files, model_hash
from receiver.config import ReceiverConfig, reach
from receiver.link.auth.tokens import TokenFile
from receiver.metrics import ReceiverMetrics
from receiver.ports import ConnectionLimits, LinkPorts, limits_of, page_socket
from receiver.publish.files import free_and_size_bytes
from receiver.publish.session_directory import SessionDirectory
from receiver.replay import open_recording
from receiver.web.database import Database


@dataclass(frozen=True, slots=True)
class Openings:
    """What is open.

    Args:
        recording: the one to replay; None to take senders.
        ports: of senders; None with a recording.
        page: the listening socket of the page; None without one.
    """

    directory: SessionDirectory
    recording: Recording | None
    limits: ConnectionLimits
    metrics: ReceiverMetrics
    ports: LinkPorts | None
    page: socket.socket | None


@contextmanager
def opened(config: ReceiverConfig) -> Iterator[Openings]:
    """Starts logging, opens recording, ports, metrics server and directory; they are closed when the context ends.

    Raises:
        UsageError: the token file cannot be used, the recording is too short, another version has made the database, or
            the system lets this process open too few files.
        PeerError: the cluster of `--engine` does not answer.
        RecordingError: the recording cannot be replayed.
        OutputError: an address, or the directory, cannot be used.
        WeightsError: trained weights are missing.
    """
    start_logging(config.logging, "receiver")
    check_files()
    if config.security.tokens is not None:
        TokenFile(config.security.tokens)
    if config.engine.address is not None:
        reach(config.engine.address)
    limits, metrics = limits_of(config), ReceiverMetrics()
    publish_build(metrics.registry, "receiver", build_versions())
    metrics.watch_disk(lambda: free_and_size_bytes(config.publish.out))
    with ExitStack() as resources:
        recording = resources.enter_context(open_recording(config.replay, CODEC_VERSION, model_hash().hex()))
        ports = resources.enter_context(closing(LinkPorts(config.listen))) if recording is None else None
        page = resources.enter_context(page_socket(config.web)) if config.web.page else None
        if config.metrics.metrics is not None:
            resources.enter_context(MetricsServer(config.metrics.metrics, metrics.registry))
        directory = resources.enter_context(SessionDirectory(config.publish))
        if config.web.page:
            Database(config.publish.out)
        yield Openings(directory, recording, limits, metrics, ports, page)
