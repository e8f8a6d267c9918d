"""`sender cameras`: the cameras of this machine, as the kernel names them (Video4Linux); opens none."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from common.errors import exit_code_of
from common.io.command_line import CommandParser
from common.io.startup import announce, open_standard_streams


def main(arguments: Sequence[str]) -> int:
    """Prints the cameras; returns the exit code."""

    def work() -> None:
        open_standard_streams()
        CommandParser(
            "sender cameras",
            description="Lists the cameras of this machine. v4l2-ctl -d 0 --list-formats-ext (package v4l-utils) says "
            "in which modes one has pictures, for: sender 0 --camera-size 1280x720 --camera-fps 30",
        ).parse_args(arguments)
        for line in listed_cameras():
            announce(line)

    return exit_code_of("sender cameras", work)


def listed_cameras(folder: Path = Path("/dev"), kernel: Path = Path("/sys/class/video4linux")) -> list[str]:
    """A line for each camera in the order of their numbers.

    Args:
        folder: with the devices.
        kernel: what the kernel says of each, by its name.
    """
    found = [path for path in folder.glob("video*") if re.fullmatch(r"video\d+", path.name)]
    found.sort(key=lambda path: int(path.name.removeprefix("video")))
    lines = [_line(path, kernel / path.name) for path in found if _told(kernel / path.name / "index", "0") == "0"]
    return lines or [f"no camera at this machine ({folder}/video*)"]


def _line(path: Path, about: Path) -> str:
    """Number and name of a device, and what to do if this user may not open it."""
    line = f"{path.name.removeprefix('video')}  {_told(about / 'name', 'camera')} ({path})"
    if os.access(path, os.R_OK | os.W_OK):
        return line
    return f"{line}: you may not open it: sudo usermod -aG {path.group()} $USER, and log in again"


def _told(path: Path, otherwise: str) -> str:
    """What the kernel says in a file: a name, or the index among a camera's devices, of which the first has frames."""
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return otherwise
