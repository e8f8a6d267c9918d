import io
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.arrays import Image
from common.errors import OutputError
from sender.preview.window import WindowSink, read_image, show_images, write_image

BLUE = (20, 60, 220)


def plain(height: int = 48, width: int = 64) -> Image:
    return np.full((height, width, 3), BLUE, np.uint8)


def stream_of(*images: Image) -> io.BytesIO:
    stream = io.BytesIO()
    for image in images:
        write_image(stream, image)
    stream.seek(0)
    return stream


class FakeScreen:
    """Replaces OpenCV's windows; after the first image, its user presses `key` or clicks the close button."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, key: int = -1, clicked: bool = False) -> None:
        self.shown: list[Image] = []
        monkeypatch.setattr(cv2, "namedWindow", lambda title, flags: None)
        monkeypatch.setattr(cv2, "imshow", lambda title, image: self.shown.append(image))
        monkeypatch.setattr(cv2, "waitKey", lambda delay_ms: key if self.shown else -1)
        monkeypatch.setattr(cv2, "getWindowProperty", lambda title, kind: 0.0 if clicked and self.shown else 1.0)


class Endless(io.BytesIO):
    """The same image again and again, until `ended` is set, which stops a thread that still reads."""

    def __init__(self) -> None:
        super().__init__(stream_of(plain()).getvalue())
        self.ended = False

    def read(self, size: int | None = -1) -> bytes:
        if self.ended:
            return b""
        return super().read(size) or (self.seek(0), super().read(size))[1]


def test_images_arrive_blue_first() -> None:
    stream = stream_of(plain(3, 5), plain(7, 2))
    first, second = read_image(stream), read_image(stream)
    assert first is not None and second is not None
    assert (first.shape, second.shape) == ((3, 5, 3), (7, 2, 3))
    assert tuple(first[2, 4]) == BLUE[::-1]
    assert read_image(stream) is None


def test_truncated_image_is_the_end() -> None:
    content = stream_of(plain()).getvalue()
    for size in (0, 5, 8, len(content) - 1):
        assert read_image(io.BytesIO(content[:size])) is None


def test_window_shows_newest_image(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    screen = FakeScreen(monkeypatch)
    assert show_images(stream_of(plain(3, 5), plain(7, 2))) == 0
    assert screen.shown[-1].shape == (7, 2, 3)
    assert capsys.readouterr().out == "open\n"


@pytest.mark.parametrize(("key", "clicked"), [(ord("q"), False), (27, False), (-1, True)])
def test_window_is_closed_by_key_or_button(monkeypatch: pytest.MonkeyPatch, key: int, clicked: bool) -> None:
    screen = FakeScreen(monkeypatch, key, clicked)
    stream = Endless()
    assert show_images(stream) == 0
    stream.ended = True
    assert len(screen.shown) == 1


def test_exit_code_without_window_support(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def named_window(title: str, flags: int) -> None:
        raise cv2.error("The function is not implemented. Rebuild the library with Windows, GTK+ 2.x or Cocoa support")

    monkeypatch.setattr(cv2, "namedWindow", named_window)
    assert show_images(io.BytesIO()) == 1
    assert capsys.readouterr().out == ""


def test_sink_sends_images_to_process(tmp_path: Path) -> None:
    program = """
import sys
from sender.preview.window import read_image

print("open", flush=True)
with open(sys.argv[1], "w") as shapes:
    while (image := read_image(sys.stdin.buffer)) is not None:
        print(image.shape, file=shapes)
"""
    sink = WindowSink((sys.executable, "-c", program, str(tmp_path / "shapes")))
    sink.show(plain(3, 5), 0.0)
    sink.show(plain(480, 640), 0.1)
    sink.close()
    assert (tmp_path / "shapes").read_text() == "(3, 5, 3)\n(480, 640, 3)\n"


def test_images_after_closing_are_dropped() -> None:
    sink = WindowSink((sys.executable, "-c", "print('open')"))
    for index in range(3):
        sink.show(plain(480, 640), index / 30)
    sink.close()


def test_window_without_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(OutputError, match=r"needs a display, and opencv-python.* or give --preview a file"):
        WindowSink()
