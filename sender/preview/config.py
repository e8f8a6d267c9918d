"""Options of the preview."""

from dataclasses import dataclass
from pathlib import Path

from common.io.command_line import option

VIDEO_FORMATS = {".mp4": "mp4", ".avi": "avi", ".mkv": "matroska"}
"""FFmpeg's container name for each suffix of a video."""


@dataclass(frozen=True, slots=True)
class PreviewConfig:
    """Where perception's output is shown, and what the receiver may show."""

    preview: Path | None = option(None, help="write masks, keypoints and scores to a video (.mp4, .avi, .mkv)")
    share_preview: bool = option(False, help="send small pictures of what the camera sees, up to 4 kB/s")

    def __post_init__(self) -> None:
        if self.preview is not None and self.preview.suffix.lower() not in VIDEO_FORMATS:
            raise ValueError(f"--preview {self.preview}: give a video that ends in {', '.join(VIDEO_FORMATS)}")
