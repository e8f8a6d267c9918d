"""The preview's window, in its own process: `python -m sender.preview.window` shows the images on its standard input.

OpenCV and PyAV each bring a library for X11, and in one process the window hangs (PyAV's issues 978 and 1050).  Also,
only the main thread can handle a window, and Qt, which draws it, ends the process if there is no display.

On the pipe, an image is two 32-bit numbers, height and width, and the pixels in OpenCV's order, blue first.
"""

import contextlib
import os
import signal
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from threading import Thread
from typing import BinaryIO

import cv2
import numpy as np

from common.arrays import Image
from common.errors import OutputError

_TITLE = "Bodywire"
_ESCAPE = 27
_SIZE = struct.Struct("<II")
_COMMAND = (sys.executable, "-m", "sender.preview.window")
_READY = b"open\n"
_POLL_MS = 15
_CLOSE_TIMEOUT_S = 5.0


class WindowSink:
    """A window on the screen; after it is closed (q, Esc, or its close button), images are dropped.

    Args:
        command: the process that shows the images on its standard input.

    Raises:
        OutputError: there is no display, or OpenCV was built without windows.
    """

    def __init__(self, command: Sequence[str] = _COMMAND) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._pipe: BinaryIO = self._process.stdin  # type: ignore[assignment]
        with self._process.stdout as answer:
            ready = answer.readline() == _READY
        if not ready:
            self.close()
            raise OutputError(
                "cannot open a preview window: it needs a display, and opencv-python, not opencv-python-headless; "
                "or give --preview a file ending in .mp4, .avi or .mkv, or a folder"
            )

    def show(self, image: Image, time_s: float) -> None:
        with contextlib.suppress(BrokenPipeError):
            write_image(self._pipe, image)

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._pipe.close()
        try:
            self._process.wait(_CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def write_image(stream: BinaryIO, image: Image) -> None:
    """Writes an image (H, W, 3) RGB; raises BrokenPipeError if the reader has ended."""
    stream.write(_SIZE.pack(*image.shape[:2]))
    stream.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR).tobytes())
    stream.flush()


def read_image(stream: BinaryIO) -> Image | None:
    """The next image (H, W, 3) BGR, or None at the end."""
    size = stream.read(_SIZE.size)
    if len(size) < _SIZE.size:
        return None
    height, width = _SIZE.unpack(size)
    pixels = stream.read(3 * height * width)
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3) if len(pixels) == 3 * height * width else None


def show_images(stream: BinaryIO) -> int:
    """Shows images until the stream ends or the window is closed; returns the exit code, 1 without window support."""
    try:
        cv2.namedWindow(_TITLE, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)
    except cv2.error:
        return 1
    print(_READY.decode(), end="", flush=True)
    newest: deque[Image] = deque(maxlen=1)
    # Reading must not wait for the window, nor the window for the next image.
    reader = Thread(target=_keep_newest, args=(stream, newest), daemon=True)
    reader.start()
    while reader.is_alive() or newest:
        if newest:
            cv2.imshow(_TITLE, newest.pop())
        key = cv2.waitKey(_POLL_MS) & 0xFF
        if key in (_ESCAPE, ord("q")) or cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) == 0:
            break
    return 0


def _keep_newest(stream: BinaryIO, newest: deque[Image]) -> None:
    while (image := read_image(stream)) is not None:
        newest.append(image)


if __name__ == "__main__":
    # Ctrl-C is handled by the sender; this process ends with its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Not `sys.stdin`, which is closed at exit while the reader thread may still wait on it.
    sys.exit(show_images(os.fdopen(0, "rb", closefd=False)))
