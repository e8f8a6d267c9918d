"""Opens the source that `--camera` names."""

import glob
import math
import stat
from dataclasses import dataclass
from pathlib import Path

from common.clock import SYSTEM_CLOCK, Clock
from common.errors import SourceError
from common.io.configuration import option
from sender.capture.cameras import DeviceReader, RtspReader, without_credentials
from sender.capture.images import ImageSource, is_image_path, natural_order
from sender.capture.live import LiveSource
from sender.capture.source import FrameSource
from sender.capture.video import VideoFileSource
from sender.metrics import SenderMetrics

DEMO_CLIP = Path(__file__).with_name("data") / "demo.mp4"


@dataclass(frozen=True, slots=True)
class CaptureConfig:
    """Where the frames come from."""

    camera: str = option(
        "demo", help="device index or path, video, image, folder or glob of images, rtsp:// URL, or demo"
    )
    focal_px: float | None = option(None, help="focal length in pixels; 1.2 times the longer side if not given")

    def __post_init__(self) -> None:
        if not self.camera:
            raise ValueError("--camera is empty: give a camera, a file, or demo")
        if self.focal_px is not None and not (math.isfinite(self.focal_px) and self.focal_px > 0):
            raise ValueError(f"--focal-px must be above 0, not {self.focal_px}")


def open_source(
    config: CaptureConfig, metrics: SenderMetrics | None = None, clock: Clock = SYSTEM_CLOCK
) -> FrameSource:
    """Opens the source that `--camera` names.

    Raises:
        SourceError: it is missing, empty, or cannot be opened.
    """
    camera, focal_px = config.camera, config.focal_px
    metrics = SenderMetrics() if metrics is None else metrics
    if camera == "demo":
        return VideoFileSource(DEMO_CLIP, focal_px, clock)
    if camera.isascii() and camera.isdigit():
        return LiveSource(f"camera {camera}", lambda: DeviceReader(int(camera)), focal_px, metrics, clock)
    if camera.startswith(("rtsp://", "rtsps://")):
        return LiveSource(without_credentials(camera), lambda: RtspReader(camera), focal_px, metrics, clock)
    if "://" in camera:
        raise SourceError(f"{without_credentials(camera)}: only rtsp:// addresses can be opened")
    path = Path(camera)
    if _is_device(path):
        return LiveSource(camera, lambda: DeviceReader(camera), focal_px, metrics, clock)
    images = _image_paths(path)
    if images:
        return ImageSource(images, focal_px, metrics, clock)
    return VideoFileSource(path, focal_px, clock)


def _is_device(path: Path) -> bool:
    try:
        return stat.S_ISCHR(path.stat().st_mode)
    except OSError:
        return str(path).startswith("/dev/video")


def _image_paths(path: Path) -> list[Path]:
    """The images of a file, folder or glob in natural order; none for a file without the suffix of an image.

    Raises:
        SourceError: the path does not exist, or the folder contains no image.
    """
    if path.is_dir():
        found = [entry for entry in path.iterdir() if entry.is_file() and is_image_path(entry)]
        message = f"the folder {path} contains no image (.jpg, .png, .webp, .tif, .bmp)"
    elif path.exists():
        return [path] if is_image_path(path) else []
    else:
        found = [Path(match) for match in glob.glob(str(path), recursive=True) if is_image_path(Path(match))]
        message = f"{path} does not exist: give --camera a device, a file, a folder of images, an rtsp:// URL, or demo"
    if not found:
        raise SourceError(message)
    return sorted(found, key=natural_order)
