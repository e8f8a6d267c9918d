"""Draws what perception sees into the window or the video that `--preview` names."""

import contextlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from common.arrays import Image
from common.blobs import Blob
from common.errors import OutputError, UsageError
from common.frames import PersonLabels
from sender.capture.source import CapturedFrame, FrameSource
from sender.perception.stage import ObservedPerson
from sender.preview.draw import draw_preview
from sender.preview.video import VideoSink
from sender.preview.window import WindowSink

logger = logging.getLogger(__name__)

_LIVE_FPS = 30.0
# Images have no times; in a video of them, each is shown for half a second.
_IMAGES_FPS = 2.0


class PreviewSink(Protocol):
    """Takes images (H, W, 3) RGB in order, at their times in the source in seconds; raises OutputError."""

    def show(self, image: Image, time_s: float) -> None: ...

    def close(self) -> None: ...


class Preview:
    """Shows frames with perception's output drawn over them; if its sink fails, the sender continues without it.

    Args:
        sink: closed with the preview.
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
        camera: the value of `--camera`, which must not be overwritten.

    Raises:
        UsageError: the preview would overwrite the source.
        OutputError: the window cannot be opened or the path cannot be written.
    """
    if target == "window":
        return Preview(WindowSink())
    path = Path(target)
    if os.path.exists(camera) and path.exists() and path.samefile(camera):
        raise UsageError(f"--preview {target} is what --camera reads: give another file")
    return Preview(VideoSink(path, source.fps or (_LIVE_FPS if source.live else _IMAGES_FPS)))
