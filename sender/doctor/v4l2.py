"""Cameras of this machine and their formats, as the kernel lists them (Video4Linux); no frame is read."""

import fcntl
import grp
import os
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

Ioctl = Callable[[int, int, bytearray], object]

# struct v4l2_capability, v4l2_fmtdesc, v4l2_frmsizeenum and v4l2_frmivalenum of linux/videodev2.h.
_CAPABILITY, _FORMAT, _SIZE = struct.Struct("16s32s32s3I12x"), struct.Struct("3I32s2I12x"), struct.Struct("3I6I8x")
_INTERVAL = struct.Struct("11I8x")
_READ, _READ_WRITE = 2, 3
_CAPTURE, _DEVICE_CAPABILITIES = 0x1, 0x8000_0000
_DISCRETE = 1
_MAX_ENTRIES = 64


def _request(direction: int, number: int, layout: struct.Struct) -> int:
    return direction << 30 | layout.size << 16 | ord("V") << 8 | number


QUERY_CAPABILITIES = _request(_READ, 0, _CAPABILITY)
LIST_FORMATS = _request(_READ_WRITE, 2, _FORMAT)
LIST_SIZES = _request(_READ_WRITE, 74, _SIZE)
LIST_INTERVALS = _request(_READ_WRITE, 75, _INTERVAL)


@dataclass(frozen=True, slots=True)
class CameraFormat:
    """A pixel format of a camera.

    Args:
        name: its four characters, such as MJPG or YUYV.
        width, height: of the largest frame in pixels; 0 if the camera does not list sizes.
        modes: sizes in the order of the driver, each with its frames a second; none where these come in steps.
    """

    name: str
    width: int
    height: int
    modes: tuple[tuple[int, int, tuple[float, ...]], ...] = ()

    def __str__(self) -> str:
        return f"{self.name} up to {self.width}×{self.height}" if self.width else self.name


@dataclass(frozen=True, slots=True)
class CameraDevice:
    """A device file of a camera.

    Args:
        name: what the driver calls it; empty if it cannot be opened.
        formats: none if it is no capture device, as the second device of many cameras.
        fault: why it cannot be opened; empty if it can be.
        group: the group that may open it.
    """

    path: Path
    name: str = ""
    formats: tuple[CameraFormat, ...] = ()
    fault: str = ""
    group: str = ""


def list_cameras(folder: Path = Path("/dev"), ioctl: Ioctl = fcntl.ioctl) -> list[CameraDevice]:
    """The devices `video0`, `video1`, … in the order of their numbers."""
    found = [path for path in folder.glob("video*") if re.fullmatch(r"video\d+", path.name)]
    return [_inspect(path, ioctl) for path in sorted(found, key=lambda path: int(path.name.removeprefix("video")))]


def _inspect(path: Path, ioctl: Ioctl) -> CameraDevice:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return CameraDevice(path, fault=error.strerror or str(error), group=_group_of(path))
    try:
        buffer = bytearray(_CAPABILITY.size)
        ioctl(descriptor, QUERY_CAPABILITIES, buffer)
        _, card, _, _, capabilities, of_device = _CAPABILITY.unpack(buffer)
        if not (of_device if capabilities & _DEVICE_CAPABILITIES else capabilities) & _CAPTURE:
            return CameraDevice(path, _text(card))
        return CameraDevice(path, _text(card), tuple(_formats(descriptor, ioctl)))
    except OSError as error:
        return CameraDevice(path, fault=f"no camera ({error.strerror})")
    finally:
        os.close(descriptor)


def _formats(descriptor: int, ioctl: Ioctl) -> Iterator[CameraFormat]:
    for entry in _entries(descriptor, ioctl, LIST_FORMATS, _format_query):
        _, _, _, _, pixel_format, _ = _FORMAT.unpack(entry)
        answers = _entries(descriptor, ioctl, LIST_SIZES, partial(_size_query, pixel_format))
        sizes = [_largest(answer) for answer in answers]
        width, height = max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))
        modes = [(*size, _rates(descriptor, ioctl, pixel_format, *size)) for size in sizes]
        yield CameraFormat(_text(pixel_format.to_bytes(4, "little")), width, height, tuple(modes))


def _rates(descriptor: int, ioctl: Ioctl, pixel_format: int, width: int, height: int) -> tuple[float, ...]:
    """Frames a second of a size, highest first; none where the driver gives steps."""
    query = partial(_interval_query, pixel_format, width, height)
    answers = [_INTERVAL.unpack(entry)[4:7] for entry in _entries(descriptor, ioctl, LIST_INTERVALS, query)]
    rates = {round(over / under, 2) for kind, under, over in answers if kind == _DISCRETE and under}
    return tuple(sorted(rates, reverse=True))


def _interval_query(pixel_format: int, width: int, height: int, index: int) -> bytes:
    return _INTERVAL.pack(index, pixel_format, width, height, *[0] * 7)


def _format_query(index: int) -> bytes:
    return _FORMAT.pack(index, _CAPTURE, 0, b"", 0, 0)


def _size_query(pixel_format: int, index: int) -> bytes:
    return _SIZE.pack(index, pixel_format, *[0] * 7)


def _entries(descriptor: int, ioctl: Ioctl, request: int, query: Callable[[int], bytes]) -> Iterator[bytearray]:
    """Answers to a request for entry 0, 1, … until the driver has no more."""
    for index in range(_MAX_ENTRIES):
        buffer = bytearray(query(index))
        try:
            ioctl(descriptor, request, buffer)
        except OSError:
            return
        yield buffer


def _largest(entry: bytearray) -> tuple[int, int]:
    _, _, kind, *numbers = _SIZE.unpack(entry)
    # Stepwise: least and most width and its step, then the same of the height.
    return (numbers[0], numbers[1]) if kind == _DISCRETE else (numbers[1], numbers[4])


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode("utf-8", "replace").strip()


def _group_of(path: Path) -> str:
    try:
        return grp.getgrgid(path.stat().st_gid).gr_name
    except (OSError, KeyError):
        return ""
