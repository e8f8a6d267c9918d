"""Checks of the source and of the preview."""

import os
import stat
import threading
from concurrent.futures import Future
from pathlib import Path

import av
import cv2

from common.doctor.finding import Finding, Verdict, ok, problem, warning
from common.doctor.storage import check_writable
from common.errors import OutputError, SourceError, UsageError
from sender.capture.config import CaptureConfig
from sender.capture.open import open_source
from sender.capture.source import CapturedFrame, FrameSource
from sender.doctor.v4l2 import CameraDevice, list_cameras
from sender.preview.config import VIDEO_FORMATS

_FRAME_TIMEOUT_S = 6.0
_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")


def check_devices(devices: list[CameraDevice] | None = None) -> list[Finding]:
    """The cameras of this machine with their formats, and those that this user may not open."""
    cameras = [camera for camera in (list_cameras() if devices is None else devices) if camera.formats or camera.fault]
    if not cameras:
        return [ok("cameras", "none at this machine (/dev/video*)")]
    return [_device(camera) for camera in cameras]


def _device(camera: CameraDevice) -> Finding:
    if not camera.fault:
        return ok("cameras", f"{camera.path} {camera.name}: {', '.join(map(str, camera.formats))}")
    advice = ""
    if camera.group:
        advice = f"add the user to the group {camera.group} and log in again: sudo usermod -aG {camera.group} $USER"
    return warning("cameras", f"{camera.path} cannot be opened ({camera.fault})", advice)


def check_source(config: CaptureConfig, timeout_s: float = _FRAME_TIMEOUT_S) -> Finding:
    """Whether the source opens and gives a frame; raises SourceError.

    What another program writes into a pipe or a socket is not read, because the sender would miss it.
    """
    camera = config.camera
    if camera.startswith("socket:") or _is_pipe(camera):
        return warning("source", f"{camera} is not read, because another program writes to it")
    outcome: Future[str] = Future()
    # A daemon thread: a camera that does not answer must not keep the doctor.
    threading.Thread(target=_describe_into, args=(outcome, config), name="first frame", daemon=True).start()
    try:
        return ok("source", outcome.result(timeout_s))
    except TimeoutError:
        found = f"{camera} gives no frame within {timeout_s:g} s"
        return problem("source", found, "check that it is on, and that nothing else uses it", SourceError)


def _is_pipe(camera: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(camera).st_mode)
    except (OSError, ValueError):
        return False


def _describe_into(outcome: Future[str], config: CaptureConfig) -> None:
    try:
        with open_source(config) as source:
            outcome.set_result(_described(source, next(iter(source), None)))
    except BaseException as error:
        outcome.set_exception(error)


def _described(source: FrameSource, frame: CapturedFrame | None) -> str:
    if frame is None:
        raise SourceError("the source has no frame")
    parts = [frame.source, f"{frame.camera.width}×{frame.camera.height}"]
    parts += [f"{source.fps:.3g} frames a second"] if source.fps else []
    parts += [f"{source.length} frames"] if source.length else []
    return ", ".join(parts)


def check_preview(target: str | None, camera: str) -> Finding | list[Finding]:
    """Whether the preview can be shown or written; raises UsageError if it is the source."""
    if target is None:
        return []
    if target == "window":
        return check_window(dict(os.environ), cv2.getBuildInformation())
    path = Path(target)
    if os.path.exists(camera) and path.exists() and path.samefile(camera):
        raise UsageError(f"--preview {target} is what --camera reads: give another file or folder")
    if path.suffix.lower() not in VIDEO_FORMATS:
        return check_writable("preview", path, "--preview")
    if path.is_dir():
        return problem("preview", f"{path} is a folder", "choose another --preview", OutputError)
    if "libx264" not in av.codecs_available:
        return problem("preview", "FFmpeg has no encoder for H.264", "give --preview a folder", OutputError)
    folder = check_writable("preview", path.parent, "--preview")
    return ok("preview", f"{path} can be written") if folder.verdict is Verdict.OK else folder


def check_window(environment: dict[str, str], opencv: str) -> Finding:
    """Whether a window can be opened; none is (`opencv`: how OpenCV was built)."""
    advice = "give --preview a file ending in .mp4, .avi or .mkv, or a folder"
    if not any(environment.get(name) for name in _DISPLAYS):
        return problem("preview", "there is no display for a window", advice, OutputError)
    gui = [line.split(":", 1)[1].strip() for line in opencv.splitlines() if line.strip().startswith("GUI:")]
    if not gui or gui[0] in ("", "NONE"):
        advice = f"install opencv-python instead of opencv-python-headless, or {advice}"
        return problem("preview", "OpenCV was built without windows", advice, OutputError)
    return ok("preview", f"a window ({gui[0]})")
