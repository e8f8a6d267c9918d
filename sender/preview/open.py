"""Opens the preview that `--preview` names."""

import contextlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from common.blobs import Blob
from common.errors import OutputError, UsageError
from common.frames import PersonLabels
from sender.capture.source import CapturedFrame, FrameSource
from sender.perception.stage import ObservedPerson
from sender.preview.config import VIDEO_FORMATS
from sender.preview.draw import draw_preview
from sender.preview.sinks import FolderSink, PreviewSink, VideoSink
from sender.preview.window import WindowSink

logger = logging.getLogger(__name__)

_LIVE_FPS = 30.0
# Images have no times; in a video of them, each is shown for half a second.
_IMAGES_FPS = 2.0
_MIN_FPS, _MAX_FPS = 1.0, 240.0


class Preview:
    """Shows frames with perception's output drawn over them; if its sink fails, the sender continues without it.

    Args:
        sink: receives the images; closed with the preview.
    """

    timed_as = "preview"

    def __init__(self, sink: PreviewSink) -> None:
        self._sink: PreviewSink | None = sink

    def update(
        self, frame: CapturedFrame, observed: Sequence[ObservedPerson], people: Sequence[PersonLabels]
    ) -> list[Blob]:
        """Draws one frame, and sends nothing; a failing sink is logged once."""
        if self._sink is None:
            return []
        try:
            self._sink.show(draw_preview(frame.image, observed), frame.media_time_s)
        except OutputError as error:
            logger.warning("preview stopped: %s", error)
            with contextlib.suppress(OutputError):
                self._sink.close()
            self._sink = None
        return []

    def reset(self) -> None:
        """One preview shows all sources."""

    def close(self) -> None:
        """Completes the output. Raises OutputError if it cannot be completed."""
        if self._sink is not None:
            self._sink.close()


def open_preview(target: str, camera: str, source: FrameSource) -> Preview:
    """Opens the preview that `--preview` names.

    Args:
        target: `window`, a path with the suffix of a video, or any other path for a folder.
        camera: the value of `--camera`, which must not be overwritten.

    Raises:
        UsageError: the preview would overwrite the source.
        OutputError: the window cannot be opened or the path cannot be written.
    """
    if target == "window":
        return Preview(WindowSink())
    path = Path(target)
    if os.path.exists(camera) and os.path.exists(path) and path.samefile(camera):
        raise UsageError(f"--preview {target} is what --camera reads: give another file or folder")
    if path.suffix.lower() in VIDEO_FORMATS:
        return Preview(VideoSink(path, frame_rate(source)))
    return Preview(FolderSink(path))


def frame_rate(source: FrameSource) -> float:
    """Frame rate of a video of a source, frames a second."""
    fps = source.fps if source.fps is not None else _LIVE_FPS if source.live else _IMAGES_FPS
    return min(max(fps, _MIN_FPS), _MAX_FPS)
