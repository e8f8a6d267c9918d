"""Options of the camera."""

from dataclasses import dataclass

from common.frames import MAX_FOCAL_PX, MIN_FOCAL_PX
from common.io.options import option


@dataclass(frozen=True, slots=True)
class CaptureConfig:
    """Where the frames come from."""

    camera: str = option(
        "demo",
        help="camera number or device, video, image, folder, glob, rtsp:// URL, demo, demo-photos, socket[+live]:PATH",
    )
    focal_px: float | None = option(None, help="focal length in pixels (default: 1.2 times the longer side)")

    def __post_init__(self) -> None:
        if not self.camera:
            raise ValueError("--camera is empty: give a camera, a file, or demo")
        if self.focal_px is not None and not MIN_FOCAL_PX <= self.focal_px <= MAX_FOCAL_PX:
            raise ValueError(f"--focal-px must lie in {MIN_FOCAL_PX:g}…{MAX_FOCAL_PX:g}, not {self.focal_px}")
