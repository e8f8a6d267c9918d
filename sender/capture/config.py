"""Options of the camera."""

import os
import re
from dataclasses import dataclass

from common.frames import MAX_FOCAL_PX, MIN_FOCAL_PX
from common.io.command_line import option

_MAX_FPS = 1000.0
STILLS_PREFIX, LIVE_PREFIX = "socket:", "socket+live:"


@dataclass(frozen=True, slots=True)
class CaptureConfig:
    """Where the frames come from."""

    camera: tuple[str, ...] = option(
        ("demo",),
        help="camera number or device, video, image, folder, glob, rtsp:// URL, demo, demo-photos, socket[+live]:PATH; "
        "again for each further camera",
    )
    camera_size: str | None = option(None, help="size of a camera's frames, 1280x720")
    camera_fps: float | None = option(None, help="frames a second of a camera", advanced=True)
    focal_px: float | None = option(
        None, help="focal length in pixels (default: from EXIF data, else 1.2 times the longer side)"
    )

    def __post_init__(self) -> None:
        if not self.camera or not all(self.camera):
            raise ValueError("--camera is empty: give a camera, a file, or demo")
        places = list(map(_place, self.camera))
        for number, place in enumerate(places):
            if (same := places.index(place)) < number:
                # Without its text, which may have a password.
                raise ValueError(f"cameras {same + 1} and {number + 1} of --camera are the same one: give it once")
        if self.camera_size is not None and re.fullmatch(r"[1-9]\d{1,4}x[1-9]\d{1,4}", self.camera_size) is None:
            raise ValueError(f"--camera-size {self.camera_size}: give width and height in pixels, such as 1280x720")
        if self.camera_fps is not None and not 1 <= self.camera_fps <= _MAX_FPS:
            raise ValueError(f"--camera-fps must lie in 1…{_MAX_FPS:g}, not {self.camera_fps:g}")
        if self.focal_px is not None and not MIN_FOCAL_PX <= self.focal_px <= MAX_FOCAL_PX:
            raise ValueError(f"--focal-px must lie in {MIN_FOCAL_PX:g}…{MAX_FOCAL_PX:g}, not {self.focal_px}")

    @property
    def only_camera(self) -> str:
        """The camera, of a configuration of one."""
        (camera,) = self.camera
        return camera

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of a camera's frames, pixels; None leaves it to the driver."""
        if self.camera_size is None:
            return None
        width, height = map(int, self.camera_size.split("x"))
        return width, height


def _place(camera: str) -> str:
    """Where a camera is, which may be written in several ways."""
    path = f"/dev/video{camera}" if camera.isdecimal() else camera
    return os.path.realpath(path.removeprefix(STILLS_PREFIX).removeprefix(LIVE_PREFIX))
