import os
import socket
from pathlib import Path

import pytest
from PIL import Image as PillowImage

from common.errors import SourceError
from sender.capture.images import ImageSource
from sender.capture.open import DEMO_PHOTOGRAPHS, open_source
from sender.capture.video import VideoFileSource
from sender.config import CaptureConfig
from tests.unit.sender.capture.test_images import HEIC, paint
from tests.unit.sender.capture.test_video import film


def names(camera: Path | str) -> list[str]:
    with open_source(str(camera)) as source:
        return [frame.source for frame in source]


def test_folder_yields_images_in_natural_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("p10.png", "p9.png", "p1.PNG", "p[1].png"):
        paint(tmp_path / name)
    film(tmp_path / "clip.avi")
    (tmp_path / "keypoints.json").write_text("{}")
    (tmp_path / "folder.jpg").mkdir()
    assert names(tmp_path) == ["p1.PNG", "p9.png", "p10.png", "p[1].png"]
    (record,) = caplog.records
    assert record.getMessage().endswith(" 3 are no images and left out: clip.avi, folder.jpg, keypoints.json")
    for name in ("p1.PNG", "p[1].png"):
        assert names(tmp_path / name) == [name], "the name of a file is no glob"


def written(path: Path, kind: str) -> Path:
    """A picture of a format, or of four that follow each other (`+`)."""
    pictures = [PillowImage.new("RGB", (64, 48), (60 * index, 0, 200)) for index in range(4 if kind[-1] == "+" else 1)]
    with path.open("wb") as file:
        pictures[0].save(file, kind.rstrip("+"), save_all=len(pictures) > 1, append_images=pictures[1:])
    return path


STILL = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "PPM")


@pytest.mark.parametrize("name", ["a.jfif", "a.JPE", "a", "a.png", "a.jpg", "a.mp4", "a.txt"])
def test_contents_say_what_a_file_is(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    for kind in STILL:
        folder = tmp_path / kind
        folder.mkdir()
        path = written(folder / name, kind)
        assert [names(path), names(folder)] == [[name], [name]], kind
    (tmp_path / name).write_bytes(HEIC.read_bytes())
    assert names(tmp_path / name) == [name]
    for kind in ("GIF+", "PNG+", "WEBP+", "AVIF+"):
        assert names(written(tmp_path / name, kind)) == [name] * 4, kind
    for video in (film(tmp_path / "clip.mkv"), film(tmp_path / "clip.mp4"), film(tmp_path / "clip.avi")):
        (tmp_path / name).write_bytes(video.read_bytes())
        assert names(tmp_path / name) == [name] * 5, video
    assert not caplog.records


def test_raw_photographs_are_not_their_small_copies(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    written(tmp_path / "a.dng", "TIFF")
    written(tmp_path / "a.jfif", "JPEG")
    assert names(tmp_path) == ["a.jfif"]
    assert [record.getMessage() for record in caplog.records] == [
        f"of 2 entries in {tmp_path}, 1 is no image and left out: a.dng"
    ]


def test_text_in_a_picture_s_name_is_no_video(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "a.gif", "a.heic"):
        (tmp_path / name).write_text("Python and BMW " * 300)
        with pytest.raises(SourceError, match="is not an image that can be read"):
            names(tmp_path / name)


def test_glob_yields_matching_images(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("a2.png", "a10.png", "b1.png", "deep/a3.png"):
        paint(tmp_path / name)
    assert names(tmp_path / "a*.png") == ["a2.png", "a10.png"]
    (tmp_path / "a [b]").mkdir()
    paint(tmp_path / "a [b]" / "c[1].png")
    assert names(tmp_path / "a [b]" / "*.png") == ["c[1].png"]
    assert sorted(names(tmp_path / "**" / "a*.png")) == ["a10.png", "a2.png", "a3.png"]


def test_files_are_read_with_the_focal_length(tmp_path: Path) -> None:
    files = ((film(tmp_path / "clip.avi"), VideoFileSource), (paint(tmp_path / "a.png"), ImageSource))
    for path, kind in files:
        with open_source(str(path), CaptureConfig(focal_px=80.0)) as source:
            assert isinstance(source, kind)
            assert source.stills == (kind is ImageSource)
            assert next(iter(source)).camera.focal_px == 80.0


@pytest.mark.parametrize(
    ("camera", "message"),
    [
        ("97", "cannot open camera 97"),
        ("/dev/video97", "cannot open camera /dev/video97"),
        ("/nonexistent/clip.mp4", "/nonexistent/clip.mp4 does not exist: give --camera"),
        ("/nonexistent/*.jpg", "does not exist: give --camera"),
        (
            "https://user:secret@cam.example/a.jpg",
            "https://cam.example/a.jpg: only rtsp:// addresses can be opened: download the file (curl -LO), and give",
        ),
        ("file:///home/a.jpg", "file:///home/a.jpg: only rtsp:// addresses can be opened: give the path alone"),
        (
            "rtsp://user:secret@127.0.0.1:1/a",
            "cannot open rtsp://127.0.0.1:1/a: Connection refused: check that",
        ),
        ("rtsp://user:secret@[::1/a", "cannot open rtsp://[::1/a"),
        ("rtsp://user:secret@127.0.0.1:99999/a", "cannot open rtsp://127.0.0.1:99999/a"),
        (str(2**31), "there is no camera 2147483648: the highest index is 255"),
        (str(2**70), "there is no camera 1180591620717411303"),
        ("9" * 5000, "there is no camera 99999999999999999999: "),
        ("-1", "-1 does not exist"),
        ("n" * 300, "cannot open nnnn"),
        ("/tmp/" + "n" * 300 + ".mp4", "File name too long"),
        ("n" * 5000, "File name too long"),
        ("a\0b", "embedded null byte"),
        ("/dev/zero", "/dev/zero is a device, but no camera: give --camera"),
        ("/dev/null", "/dev/null is a device, but no camera: give --camera"),
        ("/dev/null/a", "cannot open /dev/null/a: Not a directory"),
        ("[z-a]*.jpg", "[z-a]*.jpg"),
    ],
)
def test_missing_camera_is_one_line(camera: str, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError) as caught:
        open_source(camera)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert capfd.readouterr() == ("", "")


def test_glob_takes_only_regular_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a1.png")
    (tmp_path / "a2.png").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "a3.png"))
    (tmp_path / "a4.png").symlink_to("gone.png")
    with pytest.raises(SourceError, match=r"none of the 4 paths that match .* is an image file; give a glob of images"):
        open_source(str(tmp_path / "a*.png"))
    paint(tmp_path / "a5.png")
    assert names(tmp_path / "a*.png") == ["a5.png"]
    assert names(tmp_path) == ["a5.png"]


def test_paths_that_are_no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
    os.mkfifo(tmp_path / "pipe")
    reasons = {"notes.txt": r"cannot open .*notes\.txt", "empty": "no image", "sock": "is a socket: give --camera"}
    reasons["pipe"] = "is a pipe: give --camera"
    for name, reason in reasons.items():
        with pytest.raises(SourceError, match=reason):
            open_source(str(tmp_path / name))

    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    for method, reason in (("iterdir", "cannot read the folder .*"), ("stat", "cannot open .*")):
        monkeypatch.setattr(Path, method, refuse)
        with pytest.raises(SourceError, match=f"{reason}: Permission denied"):
            open_source(str(tmp_path))


def test_invalid_options_are_rejected() -> None:
    with pytest.raises(ValueError, match="--camera"):
        CaptureConfig(("",))
    for wrong in ("", "1280", "1280×720", "0x720", "1280x720x3", "999999x1"):
        with pytest.raises(ValueError, match="--camera-size"):
            CaptureConfig(camera_size=wrong)
    with pytest.raises(ValueError, match="--camera-fps"):
        CaptureConfig(camera_fps=0.0)
    for camera, config in (
        ("demo", CaptureConfig(camera_fps=30)),
        ("rtsp://a:b@c/d", CaptureConfig(camera_size="640x480")),
    ):
        with pytest.raises(SourceError, match=r"cameras of this machine, which (demo|rtsp://c/d) is not"):
            open_source(camera, config)
    for focal_px in (0.0, -3.0, 1e-3, 1e9, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="--focal-px"):
            CaptureConfig(focal_px=focal_px)


def test_demo_photographs_are_shipped_with_their_licences(caplog: pytest.LogCaptureFixture) -> None:
    with open_source("demo-photos") as source:
        frames = list(source)
    assert not caplog.records
    assert source.stills and len(frames) == 6
    licences = (DEMO_PHOTOGRAPHS / "LICENSES.md").read_text(encoding="utf-8")
    assert [frame.source for frame in frames if frame.source not in licences] == []
