"""The frames of a folder as one clip, whose people are tracked: `--camera` takes them for photographs of their own."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sender.capture.config import CaptureConfig
from sender.capture.open import open_source
from sender.capture.source import CapturedFrame

FPS = 24.0


def folder_clip(folder: Path) -> Iterator[tuple[Path, CapturedFrame]]:
    """The frames NAME.jpg of a folder in the order of their names, as a clip of the folder's name, with their files.

    Raises:
        SourceError: a frame cannot be read, or there is none.
    """
    with open_source(CaptureConfig(str(folder / "*.jpg"))) as source:
        for index, frame in enumerate(source):
            yield folder / frame.source, replace(frame, source=folder.name, media_time_s=index / FPS)
