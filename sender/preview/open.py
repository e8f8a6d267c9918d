"""What `--preview` can name, and the preview it opens."""

import contextlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import OutputError, UsageError
from common.io.configuration import option
from sender.capture.source import CapturedFrame, FrameSource
from sender.perception.stage import ObservedPerson
from sender.preview.draw import draw_preview
from sender.preview.sinks import VIDEO_FORMATS, FolderSink, PreviewSink, VideoSink
from sender.preview.window import WindowSink

logger = logging.getLogger(__name__)

_LIVE_FPS = 30.0
# Photographs have no times; a video of them gives each long enough to be looked at.
_PHOTOGRAPHS_FPS = 2.0
_FEWEST_FPS, _MOST_FPS = 1.0, 240.0


@dataclass(frozen=True, slots=True)
class PreviewConfig:
    """Where to show what perception sees."""

    preview: str | None = option(
        None, help="show mask, keypoints and depth: window, a video to write (.mp4, .avi, .mkv), or a folder for images"
    )

    def __post_init__(self) -> None:
        if self.preview == "":
            raise ValueError("--preview is empty: name window, a video to write, or a folder")


class Preview:
    """Shows frames with what was seen in them, until its sink fails; the stream goes on without it then.

    Args:
        sink: where the pictures go; closed with the preview.
    """

    def __init__(self, sink: PreviewSink) -> None:
        self._sink: PreviewSink | None = sink

    def show(self, frame: CapturedFrame, people: Sequence[ObservedPerson]) -> None:
        """Draws one frame; a sink that fails is reported, once."""
        if self._sink is None:
            return
        try:
            self._sink.show(draw_preview(frame.image, people), frame.media_time_s)
        except OutputError as error:
            logger.warning("the preview ends: %s", error)
            with contextlib.suppress(OutputError):
                self._sink.close()
            self._sink = None

    def close(self) -> None:
        """Completes what was written.

        Raises:
            OutputError: it cannot be completed.
        """
        if self._sink is not None:
            self._sink.close()


def open_preview(target: str, camera: str, source: FrameSource) -> Preview:
    """Opens what `--preview` names.

    Args:
        target: `window`, a path that ends like a video, or any other path for a folder.
        camera: what `--camera` names; it is not to be written over.
        source: what was opened for it; says how fast the frames come.

    Raises:
        UsageError: the preview would be written over what is sent.
        OutputError: the target cannot be shown or written.
    """
    if target == "window":
        return Preview(WindowSink())
    path = Path(target)
    if os.path.exists(camera) and os.path.exists(path) and path.samefile(camera):
        raise UsageError(f"--preview {target} is what --camera reads: name another file or folder")
    if path.suffix.lower() in VIDEO_FORMATS:
        return Preview(VideoSink(path, frame_rate(source)))
    return Preview(FolderSink(path))


def frame_rate(source: FrameSource) -> float:
    """Frames a second that a video of a source gets."""
    fps = float(getattr(source, "fps", _LIVE_FPS if source.live else _PHOTOGRAPHS_FPS))
    return min(max(fps, _FEWEST_FPS), _MOST_FPS)
