"""Frames of animated images."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from common.arrays import Image
from common.clock import LONGEST_PAUSE_S, STEADY_CLOCK, Clock
from common.errors import SourceError
from common.imaging.pictures import (
    CUT,
    animation,
    excess,
    focal_length_px,
    is_animation,
    orientation_of,
    picture_count,
    upright,
)
from sender.capture.images import guarded, opened, picture_of, reading
from sender.capture.source import CapturedFrame, FrameSource, camera_of, check_size, printable_name
from sender.capture.video import open_file, video_stream
from sender.capture.video_picture import square_rgb

logger = logging.getLogger(__name__)

# Pictures whose mean time tells the rate.
_TIMED = 8
_DEFAULT_FPS = 10.0
# Several pictures are in memory at a time, and a small file may have many large ones.
_MAX_PIXELS = 50_000_000
# FFmpeg composes their pictures as browsers do, Pillow not always.
_COMPOSED = ("GIF", "PNG")


def is_animated(path: Path) -> bool:
    """Whether a file is an animation whose pictures can be decoded; one that cannot be read is none."""
    with suppress(SourceError), reading(str(path)), opened(path) as image:
        return is_animation(image) and image.width * image.height <= _MAX_PIXELS
    return False


class AnimationSource(FrameSource):
    """Every picture of an animation at its time; behind what is damaged or cut it ends, with a warning.

    Raises:
        SourceError: the file is missing, no animation, or too large, or (while iterating) its first picture is damaged.
    """

    def __init__(self, path: Path, focal_px: float | None = None, clock: Clock = STEADY_CLOCK) -> None:
        self._path, self._clock = path, clock
        self._closed = False
        with reading(str(path)), opened(path) as image:
            if not is_animation(image):
                raise SourceError("it is no animation")
            check_size(*image.size)
            if image.width * image.height > _MAX_PIXELS:
                raise SourceError(f"its pictures have more than {_MAX_PIXELS // 10**6} million pixels")
            if (text := excess(image)) is not None:
                raise SourceError(f"it {text}")
            self._pictures, self._cut = picture_count(image), CUT in image.info
            self._composed, self._focal_px = image.format in _COMPOSED, focal_px or focal_length_px(image)
            durations_s = list[float]()
            with suppress(Exception):  # iterating tells
                durations_s.extend(islice(animation(image), _TIMED))
        self._fps = len(durations_s) / sum(durations_s) if durations_s else _DEFAULT_FPS

    @property
    def fps(self) -> float:
        """The mean of its first pictures."""
        return self._fps

    @property
    def length(self) -> int:
        return self._pictures

    def __iter__(self) -> Iterator[CapturedFrame]:
        name, played, time_s = printable_name(self._path.name), 0, 0.0
        try:
            for shown_s, image in guarded(str(self._path), self._shown()):
                camera = camera_of(image, self._focal_px)
                yield CapturedFrame(played, name, self._clock.wall(), time_s, image, camera)
                played, time_s = played + 1, time_s + min(shown_s, LONGEST_PAUSE_S)
                if self._closed:
                    return
        except SourceError as error:
            if not played and not self._closed:
                raise
            logger.debug("an animation ends early: %s", error)
        if (self._cut or played < self._pictures) and not self._closed:
            text = "%s is damaged or cut: it is played as far as picture %d of %d"
            logger.warning(text, self._path, played, self._pictures)

    def _shown(self) -> Iterator[tuple[float, Image]]:
        """For how many seconds a picture is shown, and the picture."""
        with opened(self._path) as image:
            durations_s = animation(image)
            if not self._composed:
                for shown_s in durations_s:
                    yield shown_s, picture_of(image).image
                return
            # Their metadata come with the first picture.
            orientation = orientation_of(image)
            with open_file(self._path) as container:
                for shown_s, frame in zip(durations_s, container.decode(video_stream(container)), strict=False):
                    yield shown_s, upright(square_rgb(frame), orientation)

    def close(self) -> None:
        self._closed = True
