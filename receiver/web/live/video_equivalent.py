"""The rate at which H.264 video would let a receiver reconstruct people as accurately as from labels."""

from common.frames import Camera

BITS_PER_PIXEL = 0.0149
"""Of x264 (`veryfast`, `zerolatency`), in each frame, with joint errors within 5 % of Bodywire's: ± 0.0035 (standard
error over 12 clips of one moving person, 640×480), by `python -m tests.bench.video_equivalent`."""

# A person who fills as much of a larger picture needs no higher rate: it can be scaled down to this size first.
_MEASURED_PIXELS = 640 * 480


def h264_kbps(camera: Camera, fps: float) -> float | None:
    """H.264's rate for pictures of a camera, kbit/s; None without frames."""
    if fps <= 0:
        return None
    pixels = min(camera.width * camera.height, _MEASURED_PIXELS)
    return BITS_PER_PIXEL * pixels * fps / 1000
