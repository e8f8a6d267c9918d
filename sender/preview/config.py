"""Options of the preview."""

from dataclasses import dataclass

from common.io.options import option


@dataclass(frozen=True, slots=True)
class PreviewConfig:
    """Where perception's output is shown, and what the receiver may show."""

    preview: str | None = option(
        None, help="show mask, keypoints and depth: window, a video to write (.mp4, .avi, .mkv), or a folder for images"
    )
    share_preview: bool = option(
        False, help="send the receiver a small picture of what the camera sees, once or twice a second, up to 4 kB/s"
    )
    share_picture: bool = option(
        False, help="send the receiver one small, sharp picture of each person, and another when their clothes change"
    )

    def __post_init__(self) -> None:
        if self.preview == "":
            raise ValueError("--preview is empty: give window, a video to write, or a folder")
