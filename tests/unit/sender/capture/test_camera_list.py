import errno
import struct
from pathlib import Path
from typing import TypeVar

import pytest

from sender.capture import camera_list
from sender.capture.camera_list import listed_cameras

_CAPTURE, _METADATA = 0x0420_0001, 0x0480_0000


class FakeDriver:
    """Answers as the kernel does for a camera with two formats, one of them in steps of sizes.

    Args:
        device_capabilities: of the device file; the camera as a whole can capture.
    """

    def __init__(self, device_capabilities: int = _CAPTURE) -> None:
        self.device_capabilities = device_capabilities

    def ioctl(self, descriptor: int, request: int, buffer: bytearray) -> int:
        if request == camera_list.QUERY_CAPABILITIES:
            buffer[:] = struct.pack(
                "16s32s32s3I12x",
                b"uvcvideo",
                b"HD Webcam: HD Webcam",
                b"usb-1",
                0,
                0x84A0_0001,
                self.device_capabilities,
            )
        elif request == camera_list.LIST_FORMATS:
            index, kind = struct.unpack_from("2I", buffer)
            assert kind == 1
            buffer[:] = struct.pack("3I32s4s4x12x", index, kind, 0, b"", entry_of([b"MJPG", b"YUYV"], index))
        elif request == camera_list.LIST_SIZES:
            index, pixel_format = struct.unpack_from("I4s", buffer)
            if pixel_format == b"MJPG":
                width, height = entry_of([(640, 480), (1920, 1080), (1280, 720)], index)
                buffer[:] = struct.pack("I4s3I", index, pixel_format, 1, width, height) + bytes(24)
            else:
                numbers = entry_of([(160, 800, 2, 120, 600, 2)], index)
                buffer[:] = struct.pack("I4s7I", index, pixel_format, 3, *numbers) + bytes(8)
        elif request == camera_list.LIST_INTERVALS:
            index, pixel_format, width, height = struct.unpack_from("I4s2I", buffer)
            if pixel_format != b"MJPG":
                raise OSError(errno.EINVAL, "Invalid argument")
            under, over = entry_of([(1, 30), (1, 15), (1001, 60_000)][: 3 if height < 1080 else 1], index)
            buffer[:] = struct.pack("I4s5I", index, pixel_format, width, height, 1, under, over) + bytes(24)
        else:
            raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")
        return 0


Entry = TypeVar("Entry")


def entry_of(entries: list[Entry], index: int) -> Entry:
    """An entry of a driver's list; the error of the kernel behind its end."""
    if index >= len(entries):
        raise OSError(errno.EINVAL, "Invalid argument")
    return entries[index]


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    for name in ("video10", "video2", "video0", "video-x", "videodev"):
        (tmp_path / name).touch()
    return tmp_path


def test_requests_are_those_of_the_kernel() -> None:
    # Printed by a C program that includes linux/videodev2.h.
    assert (camera_list.QUERY_CAPABILITIES, camera_list.LIST_FORMATS) == (0x8068_5600, 0xC040_5602)
    assert (camera_list.LIST_SIZES, camera_list.LIST_INTERVALS) == (0xC02C_564A, 0xC034_564B)


def test_cameras_with_their_formats(devices: Path) -> None:
    lines = listed_cameras(devices, FakeDriver().ioctl)
    assert lines[:3] == [
        f"0  HD Webcam: HD Webcam ({devices}/video0)",
        "   MJPG  1920x1080 at 30; 1280x720 at 59.94, 30, 15; 640x480 at 59.94, 30, 15",
        "   YUYV  800x600",
    ]
    assert [line.split()[0] for line in lines[::3]] == ["0", "2", "10"]


def test_device_that_captures_no_video(devices: Path) -> None:
    lines = listed_cameras(devices, FakeDriver(_METADATA).ioctl)
    assert lines == [f"no camera at this machine ({devices}/video*)"]


def test_file_that_is_no_camera(devices: Path) -> None:
    # The real ioctl, on an ordinary file.
    assert listed_cameras(devices)[0] == (
        f"0  {devices}/video0 cannot be opened (no camera: Inappropriate ioctl for device)"
    )


def test_devices_that_may_not_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A folder cannot be opened for writing, not even by root.
    (tmp_path / "video0").mkdir()
    assert listed_cameras(tmp_path, FakeDriver().ioctl) == [f"0  {tmp_path}/video0 cannot be opened (Is a directory)"]

    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("sender.capture.camera_list.os.open", refuse)
    monkeypatch.setattr(Path, "group", lambda _: "video")
    assert listed_cameras(tmp_path) == [
        f"0  {tmp_path}/video0 cannot be opened (Permission denied): sudo usermod -aG video $USER, and log in again"
    ]
