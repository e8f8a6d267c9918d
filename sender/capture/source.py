"""The interface of all sources: the captured frame, and how sources are iterated and closed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from common.arrays import Image
from common.errors import SourceError
from common.frames import Camera
from common.imaging.pictures import guessed_focal_px

MAX_SIDE_PX = 65_535
"""The longest side of a frame that a packet can describe."""
MAX_PIXELS = 180_000_000
"""The largest frame, about 0.5 GB as RGB; above it, a small file may be made to exhaust the memory."""
# In so much of a clip a person's colours do not come, a few with each frame.
_BRIEF_FRAMES, _BRIEF_S = 30, 1.0


@dataclass(frozen=True, slots=True, eq=False)
class CapturedFrame:
    """One frame of a source.

    Args:
        sequence: counts up from 0, without gaps.
        source: file name, device or address (without credentials).
        captured_at: seconds since the epoch: the arrival of a live frame, without what a network camera's times say
            that it was late; the reading of a file's frame. Of a video, `sender.playback` replaces it by what the
            file's times say.
        media_time_s: seconds since the source's first frame: presentation time in a video file, arrival of a live
            frame as above, 0 for images.
        image: (H, W, 3) uint8, RGB, upright.
        is_late: whether it is live, and took the place of one that waited.
    """

    sequence: int
    source: str
    captured_at: float
    media_time_s: float
    image: Image
    camera: Camera
    is_late: bool = False


class FrameSource:
    """An iterable of frames, to be iterated once and closed; a context manager.

    `live` sources keep only the newest frame; others drop none. Of `stills` every frame is a picture of its own, with
    people of its own. A source that does not end (`ends`) by itself cannot be read again either: a camera, or pictures
    of other programs. Iterating blocks, and raises SourceError with a message of one line when the source cannot be
    read.
    """

    live = False
    stills = False
    ends = True

    @property
    def fps(self) -> float | None:
        """Frames a second of a video file; None for other sources."""
        return None

    @property
    def length(self) -> int | None:
        """About how many frames there are; None for a live source, and where it is not known."""
        return None

    @property
    def brief(self) -> bool:
        """Whether clothes and colours have to come with the frame that shows them: few come after it, or none."""
        return self.stills or (
            self.ends and self.length is not None and self.length <= max(_BRIEF_FRAMES, _BRIEF_S * (self.fps or 0.0))
        )

    def __iter__(self) -> Iterator[CapturedFrame]:
        raise NotImplementedError

    def close(self) -> None:
        """Releases the source's resources; none by default."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def camera_of(image: Image, focal_px: float | None) -> Camera:
    """The camera of an (H, W, 3) image; without a focal length, with a guessed one.

    Raises:
        SourceError: the image is too large.
    """
    height, width = image.shape[:2]
    check_size(width, height)
    return Camera(width, height, guessed_focal_px(width, height) if focal_px is None else focal_px)


def check_size(width: int, height: int) -> None:
    """Refuses a frame that is too large. Raises SourceError if a side or the number of pixels exceeds its limit."""
    if max(width, height) > MAX_SIDE_PX or width * height > MAX_PIXELS:
        raise SourceError(
            f"the image of {width}×{height} pixels is too large: "
            f"at most {MAX_SIDE_PX} pixels a side and {MAX_PIXELS // 10**6} million altogether"
        )


def printable_name(name: str) -> str:
    """A source's name as it is sent and logged: what does not print becomes a question mark."""
    return "".join(character if character.isprintable() else "?" for character in name)


def without_credentials(url: str) -> str:
    """An address without user and password, for logs and files."""
    scheme, separator, rest = url.partition("://")
    # Not by `urlsplit`, which refuses some addresses; a password may contain any character but a slash.
    host, slash, path = rest.partition("/")
    return printable_name(scheme + separator + host.rpartition("@")[2] + slash + path)


def check_is_no_address(name: str) -> None:
    """Raises SourceError for the address of something that lies elsewhere: nothing is downloaded."""
    if "://" in name:
        what = "give the path alone" if name.startswith("file:") else "download the file (curl -LO), and give its path"
        raise SourceError(f"{without_credentials(name)}: only rtsp:// addresses can be opened: {what}")
