import io
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.arrays import Image
from common.errors import OutputError
from sender.preview.window import WindowSink, read_picture, show_pictures, write_picture

BLUE = (20, 60, 220)


def plain(height: int = 48, width: int = 64) -> Image:
    return np.full((height, width, 3), BLUE, np.uint8)


def stream_of(*pictures: Image) -> io.BytesIO:
    stream = io.BytesIO()
    for picture in pictures:
        write_picture(stream, picture)
    stream.seek(0)
    return stream


class FakeScreen:
    """Stands in for OpenCV's windows; after the first picture its user does as told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, key: int = -1, crossed: bool = False) -> None:
        self.shown: list[Image] = []
        monkeypatch.setattr(cv2, "namedWindow", lambda title, flags: None)
        monkeypatch.setattr(cv2, "imshow", lambda title, image: self.shown.append(image))
        monkeypatch.setattr(cv2, "waitKey", lambda delay_ms: key if self.shown else -1)
        monkeypatch.setattr(cv2, "getWindowProperty", lambda title, kind: 0.0 if crossed and self.shown else 1.0)


class Endless(io.BytesIO):
    """Pictures all alike, until told to end: whoever reads them in a thread would otherwise never let the others be."""

    def __init__(self) -> None:
        super().__init__(stream_of(plain()).getvalue())
        self.ended = False

    def read(self, size: int | None = -1) -> bytes:
        if self.ended:
            return b""
        return super().read(size) or (self.seek(0), super().read(size))[1]


def test_pictures_come_through_blue_first() -> None:
    stream = stream_of(plain(3, 5), plain(7, 2))
    first, second = read_picture(stream), read_picture(stream)
    assert first is not None and second is not None
    assert (first.shape, second.shape) == ((3, 5, 3), (7, 2, 3))
    assert tuple(first[2, 4]) == BLUE[::-1]
    assert read_picture(stream) is None


def test_picture_cut_short_is_the_end() -> None:
    content = stream_of(plain()).getvalue()
    for size in (0, 5, 8, len(content) - 1):
        assert read_picture(io.BytesIO(content[:size])) is None


def test_window_shows_the_newest_until_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = FakeScreen(monkeypatch)
    assert show_pictures(stream_of(plain(3, 5), plain(7, 2))) == 0
    assert screen.shown[-1].shape == (7, 2, 3)
    assert capsys.readouterr().out == "open\n"


@pytest.mark.parametrize(("key", "crossed"), [(ord("q"), False), (27, False), (-1, True)])
def test_window_is_closed_by_key_or_cross(monkeypatch: pytest.MonkeyPatch, key: int, crossed: bool) -> None:
    screen = FakeScreen(monkeypatch, key, crossed)
    stream = Endless()
    assert show_pictures(stream) == 0
    stream.ended = True
    assert len(screen.shown) == 1


def test_opencv_without_windows_is_told_by_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def named_window(title: str, flags: int) -> None:
        raise cv2.error("The function is not implemented. Rebuild the library with Windows, GTK+ 2.x or Cocoa support")

    monkeypatch.setattr(cv2, "namedWindow", named_window)
    assert show_pictures(io.BytesIO()) == 1
    assert capsys.readouterr().out == ""


def test_sink_gives_the_process_its_pictures(tmp_path: Path) -> None:
    program = """
import sys
from sender.preview.window import read_picture

print("open", flush=True)
with open(sys.argv[1], "w") as shapes:
    while (picture := read_picture(sys.stdin.buffer)) is not None:
        print(picture.shape, file=shapes)
"""
    sink = WindowSink((sys.executable, "-c", program, str(tmp_path / "shapes")))
    sink.show(plain(3, 5), 0.0)
    sink.show(plain(480, 640), 0.1)
    sink.close()
    assert (tmp_path / "shapes").read_text() == "(3, 5, 3)\n(480, 640, 3)\n"


def test_frames_go_on_when_the_window_is_closed() -> None:
    sink = WindowSink((sys.executable, "-c", "print('open')"))
    for index in range(3):
        sink.show(plain(480, 640), index / 30)
    sink.close()


def test_no_window_without_a_display_or_with_a_headless_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(OutputError, match=r"takes a display, and opencv-python.* or give --preview a file"):
        WindowSink()
