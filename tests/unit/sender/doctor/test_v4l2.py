import errno
import struct
from pathlib import Path
from typing import TypeVar

import pytest

from sender.doctor import v4l2
from sender.doctor.v4l2 import CameraFormat, list_cameras

_CAPTURE, _METADATA = 0x0420_0001, 0x0480_0000


class FakeDriver:
    """Answers as the kernel does for a camera with two formats, one of them in steps of sizes.

    Args:
        device_capabilities: of the device file; the camera as a whole can capture.
    """

    def __init__(self, device_capabilities: int = _CAPTURE) -> None:
        self.device_capabilities = device_capabilities

    def ioctl(self, descriptor: int, request: int, buffer: bytearray) -> int:
        if request == v4l2.QUERY_CAPABILITIES:
            buffer[:] = struct.pack(
                "16s32s32s3I12x",
                b"uvcvideo",
                b"HD Webcam: HD Webcam",
                b"usb-1",
                0,
                0x84A0_0001,
                self.device_capabilities,
            )
        elif request == v4l2.LIST_FORMATS:
            index, kind = struct.unpack_from("2I", buffer)
            assert kind == 1
            buffer[:] = struct.pack("3I32s4s4x12x", index, kind, 0, b"", entry_of([b"MJPG", b"YUYV"], index))
        elif request == v4l2.LIST_SIZES:
            index, pixel_format = struct.unpack_from("I4s", buffer)
            if pixel_format == b"MJPG":
                width, height = entry_of([(640, 480), (1920, 1080), (1280, 720)], index)
                buffer[:] = struct.pack("I4s3I", index, pixel_format, 1, width, height) + bytes(24)
            else:
                numbers = entry_of([(160, 800, 2, 120, 600, 2)], index)
                buffer[:] = struct.pack("I4s7I", index, pixel_format, 3, *numbers) + bytes(8)
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
    assert (v4l2.QUERY_CAPABILITIES, v4l2.LIST_FORMATS, v4l2.LIST_SIZES) == (0x8068_5600, 0xC040_5602, 0xC02C_564A)


def test_cameras_with_their_formats(devices: Path) -> None:
    cameras = list_cameras(devices, FakeDriver().ioctl)
    assert [camera.path.name for camera in cameras] == ["video0", "video2", "video10"]
    assert cameras[0].name == "HD Webcam: HD Webcam"
    assert cameras[0].formats == (CameraFormat("MJPG", 1920, 1080), CameraFormat("YUYV", 800, 600))
    assert str(cameras[0].formats[0]) == "MJPG up to 1920×1080"


def test_device_that_captures_no_video(devices: Path) -> None:
    cameras = list_cameras(devices, FakeDriver(_METADATA).ioctl)
    assert all(camera.formats == () and camera.fault == "" for camera in cameras)


def test_file_that_is_no_camera(devices: Path) -> None:
    # The real ioctl, on an ordinary file.
    assert [camera.fault for camera in list_cameras(devices)] == ["no camera (Inappropriate ioctl for device)"] * 3


def test_device_that_may_not_be_opened(tmp_path: Path) -> None:
    # A folder cannot be opened for writing, not even by root.
    (tmp_path / "video0").mkdir()
    (camera,) = list_cameras(tmp_path, FakeDriver().ioctl)
    assert camera.fault == "Is a directory"
    assert camera.group != ""
