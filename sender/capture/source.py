"""What every source of frames has in common: the frame it hands on, and how it is iterated and closed."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from common.arrays import Image
from common.frames import Camera

# 2·atan(1/(2·1.2)) ≈ 45° across the longer side: between a phone's wide and its normal camera.
DEFAULT_FOCAL_RATIO = 1.2


@dataclass(frozen=True, slots=True, eq=False)
class CapturedFrame:
    """One picture as it left its source.

    Args:
        sequence: counts up from 0, without gaps.
        source: file name, device or address (without credentials) it came from.
        captured_at: seconds since the epoch: when a live picture arrived, when a file's was read.
        media_time_s: seconds since the source's first frame: presentation time in a video file, arrival when live,
            0 for images, which have none. Whoever plays a file at its own pace waits for this and stamps `captured_at`
            anew.
        image: (H, W, 3) uint8, RGB, upright.
        camera: the camera that took it.
    """

    sequence: int
    source: str
    captured_at: float
    media_time_s: float
    image: Image
    camera: Camera


class FrameSource(Protocol):
    """An iterable of frames, to be iterated once and closed; a context manager.

    `live` sources keep only the newest frame and never end by themselves; the others drop nothing. Iterating blocks,
    and raises SourceError with one line for the user when the source is unusable.
    """

    live: bool

    def __iter__(self) -> Iterator[CapturedFrame]: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ClosingSource:
    """The context manager half of a source."""

    def close(self) -> None:
        """Frees what the source holds; nothing by default."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def camera_of(image: Image, focal_px: float | None) -> Camera:
    """The camera of an (H, W, 3) image; a focal length that nobody gave is guessed from the size."""
    height, width = image.shape[:2]
    return Camera(width, height, focal_px if focal_px is not None else DEFAULT_FOCAL_RATIO * max(width, height))
