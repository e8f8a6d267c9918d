"""Opens the source that `--camera` names."""

import glob
import logging
import os
import re
import stat
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

from common.errors import SourceError
from common.imaging.pictures import is_sequence
from common.text import counted
from sender.capture.cameras import DeviceReader, RtspReader
from sender.capture.images import ImageSource, head_of, is_image, is_named_image, natural_order
from sender.capture.live import LiveSource
from sender.capture.source import FrameSource, check_is_no_address, printable_name, without_credentials
from sender.capture.video import AnimationSource, VideoFileSource, is_animated
from sender.config import LIVE_PREFIX, STILLS_PREFIX, CaptureConfig
from sender.metrics import SenderMetrics

# Video4Linux numbers its devices in one byte.
_MAX_INDEX = 255
_RTSP = ("rtsp://", "rtsps://")
# Longer numbers are not parsed.
_INDEX_DIGITS = 4
_VIDEO4LINUX_MAJOR = 81
_SHOWN_CHARACTERS = 200
# Names of what is left out of a folder.
_MOST_NAMED = 3

logger = logging.getLogger(__name__)

DEMO_CLIP = Path(__file__).with_name("data") / "demo.mp4"
DEMO_PHOTOGRAPHS = Path(__file__).with_name("data") / "photographs"


def open_source(
    camera: str,
    config: CaptureConfig | None = None,
    metrics: SenderMetrics | None = None,
    *,
    patient: bool = False,
) -> FrameSource:
    """Opens a source that `--camera` names; a signal's exception ends the wait for a server that does not answer.

    Args:
        patient: a live camera that is missing is looked for as if it were lost later.

    Raises:
        SourceError: it is missing, empty, or cannot be opened.
    """
    opened: Future[FrameSource] = Future()

    def work() -> None:
        try:
            opened.set_result(_open(camera, config or CaptureConfig(), metrics or SenderMetrics(), patient))
        except BaseException as error:
            opened.set_exception(error)

    # A signal does not end a call of FFmpeg's, in whichever thread that is made.
    threading.Thread(target=work, name="open", daemon=True).start()
    return opened.result()


def is_camera(camera: str) -> bool:
    """Whether it is a camera of this machine or of the network, which may come back. Raises SourceError."""
    return _device(camera) is not None or camera.startswith(_RTSP)


def camera_name(camera: str) -> str:
    """What `--camera` names, in short: for logs and the receiver, which need not know this machine's folders."""
    if camera.isdecimal():
        return f"camera {camera}"
    return printable_name(without_credentials(camera) if "://" in camera else os.path.basename(camera.rstrip("/")))


def _open(camera: str, config: CaptureConfig, metrics: SenderMetrics, patient: bool) -> FrameSource:
    device, focal_px = _device(camera), config.focal_px
    if device is not None:
        name = f"camera {device}" if isinstance(device, int) else device
        return LiveSource(
            name, lambda: DeviceReader(device, config.size, config.camera_fps), focal_px, metrics, patient=patient
        )
    if config.size is not None or config.camera_fps is not None:
        what = printable_name(without_credentials(camera))
        raise SourceError(f"--camera-size and --camera-fps are for cameras of this machine, which {what} is not")
    if camera.startswith(_RTSP):
        return LiveSource(without_credentials(camera), lambda: RtspReader(camera), focal_px, metrics, patient=patient)
    return _open_other(camera, focal_px, metrics)


def _device(camera: str) -> int | str | None:
    """The index or path of a camera of this machine; None if this is another source. Raises SourceError."""
    if camera.isascii() and camera.isdigit():
        index = int(camera[:_INDEX_DIGITS])
        if len(camera) > _INDEX_DIGITS or index > _MAX_INDEX:
            raise SourceError(f"there is no camera {camera[:20]}: the highest index is {_MAX_INDEX}")
        return index
    try:
        status = os.stat(camera)
    except (OSError, ValueError):
        return camera if camera.startswith("/dev/video") else None
    video = stat.S_ISCHR(status.st_mode) and os.major(status.st_rdev) == _VIDEO4LINUX_MAJOR
    return camera if video else None


def _open_other(camera: str, focal_px: float | None, metrics: SenderMetrics) -> FrameSource:
    if camera == "demo":
        return VideoFileSource(DEMO_CLIP, focal_px, metrics)
    if camera == "demo-photos":
        return _image_source(_matching_images(DEMO_PHOTOGRAPHS / "*.jpg"), focal_px, metrics)
    for prefix in (STILLS_PREFIX, LIVE_PREFIX):
        if camera.startswith(prefix):
            path = Path(camera.removeprefix(prefix))
            # Pydantic takes a while to import.
            from sender.capture.socket_source import SocketSource

            return SocketSource(path, live=prefix == LIVE_PREFIX, focal_px=focal_px, metrics=metrics)
    check_is_no_address(camera)
    return _open_path(Path(camera), focal_px, metrics)


def _open_path(path: Path, focal_px: float | None, metrics: SenderMetrics) -> FrameSource:
    try:
        status = path.stat()
    except FileNotFoundError:
        return _image_source(_matching_images(path), focal_px, metrics)
    # ValueError: a NUL character.
    except (OSError, ValueError) as error:
        raise SourceError(f"cannot open {_shown(path)}: {getattr(error, 'strerror', None) or error}") from error
    kind = status.st_mode
    if stat.S_ISDIR(kind):
        return _image_source(_images_in(path), focal_px, metrics)
    if stat.S_ISREG(kind):
        return _open_file(path, focal_px, metrics)
    what = "socket" if stat.S_ISSOCK(kind) else "pipe" if stat.S_ISFIFO(kind) else "device, but no camera"
    raise SourceError(f"{path} is a {what}: give --camera a camera, a video, images, or an rtsp:// URL")


def _open_file(path: Path, focal_px: float | None, metrics: SenderMetrics) -> FrameSource:
    """A picture, an animation or a video, as its content says."""
    if is_image(path):
        return _image_source([path], focal_px, metrics)
    try:
        return VideoFileSource(path, focal_px, metrics)
    except SourceError:
        if not is_named_image(path):
            raise
        return ImageSource([path], focal_px, metrics)


def _image_source(images: Sequence[Path], focal_px: float | None, metrics: SenderMetrics) -> FrameSource:
    """Images in natural order; a single one that moves is played."""
    if len(images) == 1:
        if is_animated(images[0]):
            return AnimationSource(images[0], focal_px)
        # Reading it as a picture says what is wrong.
        with suppress(SourceError):
            if is_sequence(head_of(images[0])):
                return VideoFileSource(images[0], focal_px, metrics)
    return ImageSource(sorted(images, key=natural_order), focal_px, metrics)


def _images_in(folder: Path) -> list[Path]:
    """The images in a folder; raises SourceError if it cannot be read or contains none."""
    try:
        images = _images_among(list(folder.iterdir()), folder)
    except OSError as error:
        raise SourceError(f"cannot read the folder {folder}: {error.strerror}") from error
    if not images:
        raise SourceError(f"the folder {folder} contains no image (.jpg, .png, .heic, .avif, .webp, .gif, .tif, .bmp)")
    return images


def _images_among(paths: Sequence[Path], where: Path) -> list[Path]:
    """The images, and files that are named as one; how many others there are is logged."""
    images = [path for path in paths if path.is_file() and (is_image(path) or is_named_image(path))]
    others = sorted(set(paths).difference(images), key=natural_order)
    if images and others:
        named = ", ".join(printable_name(path.name) for path in others[:_MOST_NAMED])
        more = f" and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
        left_out = counted(len(others), "is no image", "are no images")
        logger.warning("of %d entries in %s, %s and left out: %s%s", len(paths), _shown(where), left_out, named, more)
    return images


def _matching_images(pattern: Path) -> list[Path]:
    """The images that match a glob, of which no folder that exists is a pattern.

    Raises:
        SourceError: there is none.
    """
    try:
        root = next(folder for folder in pattern.parents if folder.is_dir())
        found_names = glob.glob(str(pattern.relative_to(root)), root_dir=root, recursive=True)
        matches = [root / name for name in found_names]
    except (OSError, ValueError, re.error) as error:
        raise SourceError(f"cannot look for {_shown(pattern)}: {error}") from error
    found = _images_among(matches, pattern)
    if matches and not found:
        raise SourceError(
            f"none of the {len(matches)} paths that match {pattern} is an image file; "
            "give a glob of images, or a single video"
        )
    if not found:
        raise SourceError(
            f"{_shown(pattern)} does not exist: "
            "give --camera a device, a file, a folder of images, an rtsp:// URL, or demo"
        )
    return found


def _shown(path: Path) -> str:
    """A path for messages, shortened in the middle."""
    text = str(path)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS // 2]}…{text[-20:]}"
