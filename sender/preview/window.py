"""The preview's window, in a process of its own.

OpenCV and PyAV each bring a library for X11, and in one process the window hangs (PyAV's issues 978 and 1050).  Also,
only the main thread can handle a window, and Qt, which draws it, ends the process if there is no display.
"""

import contextlib
import multiprocessing
import os
import signal
from multiprocessing.connection import Connection

import cv2

from common.arrays import Image
from common.errors import OutputError

_TITLE = "Bodywire"
_ESCAPE = 27
_POLL_S = 0.015
_CLOSE_TIMEOUT_S = 5.0


class WindowSink:
    """A window on the screen; after it is closed (q, Esc, or its close button), images are dropped.

    Raises:
        OutputError: there is no display, or OpenCV was built without windows.
    """

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=show_images, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        try:
            self._connection.recv()
        except EOFError as error:
            raise OutputError(
                "cannot open a preview window: it needs a display, and opencv-python, not opencv-python-headless; "
                "or give --preview a file ending in .mp4, .avi or .mkv"
            ) from error

    def show(self, image: Image, time_s: float) -> None:
        with contextlib.suppress(OSError):  # the window was closed
            self._connection.send(image)

    def close(self) -> None:
        self._connection.close()
        self._process.join(_CLOSE_TIMEOUT_S)
        self._process.kill()


def show_images(images: Connection) -> None:
    """Says that the window is open, then shows the newest image (H, W, 3) RGB, until that is closed."""
    # Ctrl-C is handled by the sender; and what Qt and OpenCV print would tear its status line.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    cv2.namedWindow(_TITLE, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)
    images.send("open")
    key, image = -1, None
    with contextlib.suppress(EOFError, ConnectionError):
        while key not in (_ESCAPE, ord("q")) and cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) != 0:
            while images.poll(0 if image is not None else _POLL_S):
                image = images.recv()
            if image is not None:
                cv2.imshow(_TITLE, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
                image = None
            key = cv2.waitKey(1) & 0xFF
