"""`sender cameras`: the cameras of this machine with their modes, as the kernel lists them (Video4Linux).

Reads no frame.  By hand, because linuxpy, which does the same, may not be redistributed under Apache-2.0.
"""

import fcntl
import os
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from common.errors import exit_code_of
from common.io.command_line import CommandParser
from common.io.startup import announce, open_standard_streams

Ioctl = Callable[[int, int, bytearray], object]

# struct v4l2_capability, v4l2_fmtdesc, v4l2_frmsizeenum and v4l2_frmivalenum of linux/videodev2.h.
_CAPABILITY, _FORMAT = struct.Struct("16s32s32s3I12x"), struct.Struct("3I32s2I12x")
_SIZE, _INTERVAL = struct.Struct("3I6I8x"), struct.Struct("11I8x")
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


def main(arguments: Sequence[str]) -> int:
    """Prints the cameras; returns the exit code."""

    def work() -> None:
        open_standard_streams()
        CommandParser(
            "sender cameras",
            description="Lists the cameras of this machine, and the sizes and frames a second of each format: "
            "sender 0 --camera-size 1280x720 --camera-fps 30",
        ).parse_args(arguments)
        for line in listed_cameras():
            announce(line)

    return exit_code_of("sender cameras", work)


def listed_cameras(folder: Path = Path("/dev"), ioctl: Ioctl = fcntl.ioctl) -> list[str]:
    """A line for each camera in the order of their numbers, and below it one for each format."""
    found = [path for path in folder.glob("video*") if re.fullmatch(r"video\d+", path.name)]
    found.sort(key=lambda path: int(path.name.removeprefix("video")))
    lines = [line for path in found for line in _camera(path, ioctl)]
    return lines or [f"no camera at this machine ({folder}/video*)"]


def _camera(path: Path, ioctl: Ioctl) -> list[str]:
    """The lines of a device; none if it does not capture, as the second device of many cameras."""
    number = path.name.removeprefix("video")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as error:
        remedy = f"sudo usermod -aG {path.group()} $USER, and log in again"
        return [f"{number}  {path} cannot be opened ({error.strerror}): {remedy}"]
    except OSError as error:
        return [f"{number}  {path} cannot be opened ({error.strerror})"]
    try:
        buffer = bytearray(_CAPABILITY.size)
        ioctl(descriptor, QUERY_CAPABILITIES, buffer)
        _, card, _, _, capabilities, of_device = _CAPABILITY.unpack(buffer)
        if not (of_device if capabilities & _DEVICE_CAPABILITIES else capabilities) & _CAPTURE:
            return []
        return [f"{number}  {_text(card)} ({path})", *_formats(descriptor, ioctl)]
    except OSError as error:
        return [f"{number}  {path} cannot be opened (no camera: {error.strerror})"]
    finally:
        os.close(descriptor)


def _formats(descriptor: int, ioctl: Ioctl) -> Iterator[str]:
    """`MJPG  1280x720 at 30, 15; 640x480 at 30`, the largest size first."""
    for entry in _entries(descriptor, ioctl, LIST_FORMATS, _FORMAT, _CAPTURE):
        pixel_format = entry[4]
        sizes = [_largest(size) for size in _entries(descriptor, ioctl, LIST_SIZES, _SIZE, pixel_format)]
        sizes.sort(key=lambda size: size[0] * size[1], reverse=True)
        modes = [
            f"{width}x{height}" + _rates(descriptor, ioctl, pixel_format, width, height) for width, height in sizes
        ]
        yield f"   {_text(pixel_format.to_bytes(4, 'little'))}  {'; '.join(modes) or 'any size'}"


def _rates(descriptor: int, ioctl: Ioctl, *mode: int) -> str:
    """` at 30, 15` frames a second; empty where the driver gives steps."""
    answers = [entry[4:7] for entry in _entries(descriptor, ioctl, LIST_INTERVALS, _INTERVAL, *mode)]
    rates = {round(over / under, 2) for kind, under, over in answers if kind == _DISCRETE and under}
    return f" at {', '.join(f'{rate:g}' for rate in sorted(rates, reverse=True))}" if rates else ""


def _entries(
    descriptor: int, ioctl: Ioctl, request: int, layout: struct.Struct, *about: int
) -> Iterator[tuple[Any, ...]]:
    """Answers to a request for entry 0, 1, … until the driver has no more; `about` stands behind the index."""
    for index in range(_MAX_ENTRIES):
        buffer = bytearray(layout.size)
        struct.pack_into(f"{1 + len(about)}I", buffer, 0, index, *about)
        try:
            ioctl(descriptor, request, buffer)
        except OSError:
            return
        yield layout.unpack(buffer)


def _largest(entry: tuple[int, ...]) -> tuple[int, int]:
    """Width and height of an answer about sizes."""
    _, _, kind, *numbers = entry
    # Stepwise: least and most width and its step, then the same of the height.
    return (numbers[0], numbers[1]) if kind == _DISCRETE else (numbers[1], numbers[4])


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode("utf-8", "replace").strip()
