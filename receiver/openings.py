"""What the receiver opens before its networks' library is imported, which takes seconds: a directory that is in use, or
a file that is no recording, is told at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console

from common.codec.packet import CODEC_VERSION
from common.io.logs import start_logging
from common.recording.reader import Recording
from common.weights.manifest import check_files, model_hash
from receiver.config import ReceiverConfig
from receiver.publish.session_directory import SessionDirectory
from receiver.recording.replay import open_recording


@dataclass(frozen=True, slots=True)
class Openings:
    """What is open.

    Args:
        console: shows the status line, if there is a terminal.
        recording: the one to replay; None if senders are received.
        directory: of the output.
    """

    console: Console | None
    recording: Recording | None
    directory: SessionDirectory


@contextmanager
def opened(config: ReceiverConfig) -> Iterator[Openings]:
    """Starts logging, and opens recording and output directory; they are closed when the context ends.

    Raises:
        RecordingError: the recording to replay is damaged, or of another version.
        UsageError: it ends before the replay would begin.
        OutputError: the directory cannot be used, or another receiver uses it.
        WeightsError: trained weights are missing, damaged or of another version.
    """
    console = start_logging(config.logging, "receiver")
    check_files()
    with (
        open_recording(config.replay, CODEC_VERSION, model_hash().hex()) as recording,
        SessionDirectory(config.publish) as directory,
    ):
        yield Openings(console, recording, directory)
