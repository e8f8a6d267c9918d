"""`sender cameras`: the cameras of this machine with their modes."""

from collections.abc import Iterator, Sequence

from common.errors import exit_code_of
from common.io.command_line import CommandParser
from common.io.startup import announce, open_standard_streams
from sender.doctor.v4l2 import CameraDevice, CameraFormat, list_cameras


def main(arguments: Sequence[str]) -> int:
    """Prints the cameras; returns the exit code."""

    def work() -> None:
        open_standard_streams()
        CommandParser(
            "sender cameras",
            description="Lists the cameras of this machine, and the sizes and frames a second of each format: "
            "sender 0 --camera-size 1280x720 --camera-fps 30",
        ).parse_args(arguments)
        for line in described(list_cameras()):
            announce(line)

    return exit_code_of("sender cameras", work)


def described(devices: Sequence[CameraDevice]) -> Iterator[str]:
    """A line for each camera, and below it one for each format."""
    cameras = [device for device in devices if device.formats or device.fault]
    for camera in cameras:
        number = camera.path.name.removeprefix("video")
        if camera.fault:
            group = f": sudo usermod -aG {camera.group} $USER, and log in again" if camera.group else ""
            yield f"{number}  {camera.path} cannot be opened ({camera.fault}){group}"
        else:
            yield f"{number}  {camera.name} ({camera.path})"
        yield from (f"   {each.name}  {_modes(each)}" for each in camera.formats)
    if not cameras:
        yield "no camera at this machine (/dev/video*)"


def _modes(found: CameraFormat) -> str:
    """`1280x720 at 30, 15; 640x480 at 30`, largest first."""
    sizes = sorted(found.modes, key=lambda mode: mode[0] * mode[1], reverse=True)
    shown = [
        f"{width}x{height}" + (f" at {', '.join(f'{rate:g}' for rate in rates)}" if rates else "")
        for width, height, rates in sizes
    ]
    return "; ".join(shown) or "any size"
