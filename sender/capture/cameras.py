"""Cameras: those of this machine, and frames of one by V4L2 or RTSP."""

import json
import logging
import os
import re
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.codec.context import CodecContext
from av.video.codeccontext import VideoCodecContext

from common.arrays import Image
from common.clock import SYSTEM_CLOCK
from common.errors import SourceError, exit_code_of
from common.io.command_line import CommandParser
from common.io.startup import announce, open_standard_streams
from sender.capture import rtsp_process
from sender.capture.rtsp_process import NO_TIME, PACKET
from sender.capture.source import without_credentials
from sender.capture.video import Deinterlacer, limit, reason, upright_rgb


def main(arguments: Sequence[str]) -> int:
    """Prints the cameras; returns the exit code."""

    def work() -> None:
        open_standard_streams()
        CommandParser(
            "sender cameras",
            description="Lists the cameras of this machine. v4l2-ctl -d 0 --list-formats-ext (package v4l-utils) says "
            "in which modes one has pictures, for: sender 0 --camera-size 1280x720 --camera-fps 30",
        ).parse_args(arguments)
        for line in listed_cameras():
            announce(line)

    return exit_code_of("sender cameras", work)


def listed_cameras(folder: Path = Path("/dev"), kernel: Path = Path("/sys/class/video4linux")) -> list[str]:
    """A line for each camera in the order of their numbers.

    Args:
        folder: with the devices.
        kernel: what the kernel says of each, by its name.
    """
    found = [path for path in folder.glob("video*") if re.fullmatch(r"video\d+", path.name)]
    found.sort(key=lambda path: int(path.name.removeprefix("video")))
    lines = [_line(path, kernel / path.name) for path in found if _told(kernel / path.name / "index", "0") == "0"]
    return lines or [f"no camera at this machine ({folder}/video*)"]


def _line(path: Path, about: Path) -> str:
    """Number and name of a device, and what to do if this user may not open it."""
    line = f"{path.name.removeprefix('video')}  {_told(about / 'name', 'camera')} ({path})"
    if os.access(path, os.R_OK | os.W_OK):
        return line
    return f"{line}: you may not open it: sudo usermod -aG {path.group()} $USER, and log in again"


def _told(path: Path, otherwise: str) -> str:
    """What the kernel says in a file: a name, or the index among a camera's devices, of which the first has frames."""
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return otherwise


logger = logging.getLogger(__name__)

_FPS_TOLERANCE = 0.05
# By its path: a module's name is looked up in the working directory, too.
_RECEIVE = (sys.executable, "-P", rtsp_process.__file__)
# For looking up the address, connecting, redirects and the first pictures together; and then from one to the next.
_OPEN_S, _SILENCE_S = 20.0, 30.0
_LEAST_WAIT_S, _MOST_AT_ONCE = 1e-3, 1 << 20


class DeviceReader:
    """A camera of this machine, by index or path.

    Args:
        size: width and height of its frames, pixels; None leaves it to the driver, as does a rate of None.

    Raises:
        SourceError: there is no such camera, it is in use, it has no frames of this size, or (reading) it is lost.
    """

    time_s = None

    def __init__(self, device: int | str, size: tuple[int, int] | None = None, fps: float | None = None) -> None:
        # OpenCV would log to stderr what the SourceError reports in one line.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        self._device = device
        self._capture = cv2.VideoCapture(device)
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceError(
                f"cannot open camera {device}: check that it is plugged in, not in use, and allowed for this user "
                "(group video), or give --camera FILE"
            )
        self._choose(size, fps)

    def _choose(self, size: tuple[int, int] | None, fps: float | None) -> None:
        """A driver takes what is nearest to what it has."""
        capture = self._capture
        if size is not None:
            # Uncompressed, USB carries large frames a few times a second.
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
            given = tuple(int(capture.get(each)) for each in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
            if given != size:
                capture.release()
                raise SourceError(
                    f"camera {self._device} gives {given[0]}x{given[1]} instead of --camera-size "
                    f"{size[0]}x{size[1]}: give that, or another"
                )
        if fps is not None:
            capture.set(cv2.CAP_PROP_FPS, fps)
            given_fps = capture.get(cv2.CAP_PROP_FPS)
            if abs(given_fps - fps) > _FPS_TOLERANCE * fps:
                logger.warning("camera %s gives %.4g frames a second, not %.4g", self._device, given_fps, fps)

    def read(self) -> Image:
        succeeded, image_bgr = self._capture.read()
        if not succeeded:
            raise SourceError(f"camera {self._device} delivers no more frames")
        return np.asarray(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)

    def close(self) -> None:
        self._capture.release()


class RtspReader:
    """A network camera, received by a process that is ended where it takes too long (`rtsp_process`).

    Raises:
        SourceError: the address does not answer in time, is no video, or (reading) shows nothing new, or is lost.
    """

    time_s: float | None = None

    def __init__(self, url: str) -> None:
        self._name = without_credentials(url)
        self._link, theirs = socket.socketpair()
        self._process: subprocess.Popen[bytes] | None = None
        self._deinterlacer, self._frames = Deinterlacer(), deque[av.VideoFrame]()
        try:
            with theirs:
                end = theirs.fileno()
                # In a session of its own, Ctrl-C ends it after the sender.
                self._process = subprocess.Popen(
                    _RECEIVE, stdin=end, stdout=end, stderr=subprocess.DEVNULL, start_new_session=True
                )
            self._decoder = self._opened(url)
        except (SourceError, OSError) as error:
            self.close()
            raise SourceError(
                f"cannot open {self._name}: {error}: check that the camera can be reached, and "
                "rtsp://user:password@host/path; 554 is the usual port"
            ) from error

    def _opened(self, url: str) -> VideoCodecContext:
        self._until_s = SYSTEM_CLOCK.monotonic() + _OPEN_S
        # Not as an argument, because an address may have a password, and arguments are for all users to see.
        self._link.sendall(url.replace("\n", "").encode(errors="replace") + b"\n")
        facts = self._taken_line()
        self._time_base = Fraction(*facts["time_base"])
        decoder = CodecContext.create(facts["codec"], "r")
        if not isinstance(decoder, VideoCodecContext):
            raise SourceError("it is no video")
        decoder.extradata = bytes.fromhex(facts["extradata"])
        decoder.width, decoder.height, decoder.pix_fmt = facts["width"], facts["height"], facts["pix_fmt"]
        limit(decoder)
        return decoder

    def read(self) -> Image:
        self._until_s = SYSTEM_CLOCK.monotonic() + _SILENCE_S
        try:
            while not self._frames:
                self._frames.extend(self._decoded())
            frame = self._frames.popleft()
            self.time_s = frame.time
            return upright_rgb(frame, float(self._decoder.sample_aspect_ratio or 1))
        except SourceError as error:
            raise SourceError(f"{self._name}: {error}") from error
        except av.FFmpegError as error:
            raise SourceError(f"{self._name}: {reason(error)}") from error
        except (ValueError, OverflowError, MemoryError) as error:
            raise SourceError(f"{self._name} cannot be decoded: {error}") from error

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """What the next packet shows: nothing if it is damaged, because whole ones come soon."""
        pts, size = PACKET.unpack(self._taken(PACKET.size))
        if not size:
            self._taken_line()
        packet = av.Packet(self._taken(size))
        packet.pts, packet.time_base = None if pts == NO_TIME else pts, self._time_base
        with suppress(av.InvalidDataError):
            for frame in self._decoder.decode(packet):
                yield from self._deinterlacer.pictures(frame)

    def _taken_line(self) -> Any:
        """The facts on a line of the process; raises SourceError with its reason if they are why there is nothing."""
        line = bytearray()
        while not line.endswith(b"\n"):
            line += self._taken(1)
        facts = json.loads(line)
        if "error" in facts:
            raise SourceError(facts["error"])
        return facts

    def _taken(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            self._link.settimeout(max(self._until_s - SYSTEM_CLOCK.monotonic(), _LEAST_WAIT_S))
            try:
                part = self._link.recv(min(size - len(data), _MOST_AT_ONCE))
            except TimeoutError as error:
                raise SourceError("no picture came in time") from error
            except OSError as error:
                raise SourceError(f"its process has failed: {error.strerror}") from error
            if not part:
                raise SourceError("it ended")
            data += part
        return bytes(data)

    def close(self) -> None:
        self._link.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
