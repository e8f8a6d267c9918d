import multiprocessing
from collections.abc import Iterator
from threading import Thread

import cv2
import numpy as np
import pytest

from common.arrays import Image
from common.errors import OutputError
from sender.preview.window import WindowSink, show_images

BLUE = (20, 60, 220)


def plain(height: int = 48, width: int = 64) -> Image:
    return np.full((height, width, 3), BLUE, np.uint8)


class FakeScreen:
    """Replaces OpenCV's windows; after the first image, its user presses `key` or clicks the close button."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, key: int = -1, clicked: bool = False) -> None:
        self.shown: list[Image] = []
        monkeypatch.setattr(cv2, "namedWindow", lambda title, flags: None)
        monkeypatch.setattr(cv2, "imshow", lambda title, image: self.shown.append(image))
        monkeypatch.setattr(cv2, "waitKey", lambda delay_ms: key if self.shown else -1)
        monkeypatch.setattr(cv2, "getWindowProperty", lambda title, kind: 0.0 if clicked and self.shown else 1.0)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("sender.preview.window.signal.signal", lambda *_: None)
    monkeypatch.setattr("sender.preview.window.os.dup2", lambda *_: None)
    yield


def test_window_shows_the_newest_image_until_there_are_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = FakeScreen(monkeypatch)
    ours, theirs = multiprocessing.Pipe()
    for image in (plain(3, 5), plain(7, 2)):
        ours.send(image)
    showing = Thread(target=show_images, args=(theirs,))
    showing.start()
    assert ours.recv() == "open"
    ours.close()
    showing.join(30)
    assert not showing.is_alive()
    assert [image.shape for image in screen.shown] in ([], [(7, 2, 3)])


@pytest.mark.parametrize(("key", "clicked"), [(ord("q"), False), (27, False), (-1, True)])
def test_window_is_closed_by_key_or_button(monkeypatch: pytest.MonkeyPatch, key: int, clicked: bool) -> None:
    screen = FakeScreen(monkeypatch, key, clicked)
    ours, theirs = multiprocessing.Pipe()
    showing = Thread(target=show_images, args=(theirs,))
    showing.start()
    assert ours.recv() == "open"
    ours.send(plain())
    showing.join(30)
    assert not showing.is_alive() and len(screen.shown) == 1
    assert tuple(screen.shown[0][0, 0]) == BLUE[::-1], "OpenCV has blue first"
    theirs.close()
    with pytest.raises(OSError):
        ours.send(plain(480, 640))


def test_window_without_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(OutputError, match=r"needs a display, and opencv-python.* or give --preview a file"):
        WindowSink()
