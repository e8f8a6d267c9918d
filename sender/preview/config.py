"""Options of the preview."""

from dataclasses import dataclass
from pathlib import Path

from common.io.options import option

VIDEO_FORMATS = {".mp4": "mp4", ".avi": "avi", ".mkv": "matroska"}
"""FFmpeg's container name for each suffix of a video."""


@dataclass(frozen=True, slots=True)
class PreviewConfig:
    """Where perception's output is shown, and what the receiver may show."""

    preview: str | None = option(
        None, help="show mask, keypoints and depth: window, a video (.mp4, .avi, .mkv), or a folder"
    )
    share_preview: bool = option(False, help="send small pictures of what the camera sees, up to 4 kB/s")

    def __post_init__(self) -> None:
        if self.preview == "":
            raise ValueError("--preview is empty: give window, a video to write, or a folder")
        path = Path(self.preview or "")
        if path.suffix.lower() not in ("", *VIDEO_FORMATS) and not path.is_dir():
            raise ValueError(f"--preview {self.preview}: a video ends in {', '.join(VIDEO_FORMATS)}")
