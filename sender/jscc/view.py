"""What part of the camera's picture an analogue session shows.

A part is kept as long as it shows the person, because the receiver uses earlier pictures of the same place.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from common.arrays import Image
from common.channel.signal_blob import Window
from sender.jscc.config import View
from sender.perception.inference.crop import CropBox
from sender.perception.stage import ObservedPerson

_MIN_SCORE = 0.5
# Side of a new window over that of the person's crop, so that the person may move in it.
_MARGIN = 1.15
# A crop below this share of the window is that of a person who has gone away; one who crouches keeps the window.
_LEAST_SHARE = 0.35


@dataclass(slots=True)
class _Followed:
    identity: int
    box: CropBox


class Views:
    """Chooses the windows of a session (`side_px`: longer side of the pictures)."""

    def __init__(self, view: View, side_px: int) -> None:
        self._view = view
        self._side_px = side_px
        self._number = 0
        self._followed: _Followed | None = None
        self._frame_size = (0, 0)

    def reset(self) -> None:
        """Another source: nothing shows the same place as before."""
        self._number += 1
        self._followed = None

    def window(self, image: Image, observed: Sequence[ObservedPerson]) -> Window | None:
        """The window in a frame (H, W, 3); None if nobody is in it."""
        height, width = image.shape[:2]
        if (height, width) != self._frame_size:
            self._frame_size = height, width
            self.reset()
        if self._view == "frame":
            return Window(self._number, 0, 0, width, height)
        person = self._person(observed)
        if person is None:
            return None
        if self._followed is None or person.identity != self._followed.identity or self._is_left(person.crop):
            self._number += 1
            self._followed = _Followed(person.identity, _window_around(person.crop, height, width))
        box = self._followed.box
        return Window(self._number, box.left, box.top, box.side, box.side)

    def cut(self, image: Image, window: Window) -> Image:
        """The picture of a window, resampled; black beyond the frame's border."""
        if self._view == "person":
            return CropBox(window.left, window.top, window.width).cut(image, self._side_px)
        scale = self._side_px / max(window.width, window.height)
        size = max(round(window.width * scale), 1), max(round(window.height * scale), 1)
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(image, size, interpolation=method), np.uint8)

    def _person(self, observed: Sequence[ObservedPerson]) -> ObservedPerson | None:
        """The one who is followed, else the largest."""
        people = [person for person in observed if person.score >= _MIN_SCORE]
        if self._followed is not None:
            for person in people:
                if person.identity == self._followed.identity:
                    return person
        return max(people, key=lambda person: person.crop.side, default=None)

    def _is_left(self, crop: CropBox) -> bool:
        assert self._followed is not None
        box = self._followed.box
        if crop.side < _LEAST_SHARE * box.side:
            return True
        # The crop has a margin around the person, half of which may leave the window.
        slack = crop.side // 10
        outside = (
            box.left - crop.left,
            box.top - crop.top,
            crop.left + crop.side - box.left - box.side,
            crop.top + crop.side - box.top - box.side,
        )
        return max(outside) > slack


def _window_around(crop: CropBox, height: int, width: int) -> CropBox:
    """A larger square with the same centre, moved into the frame where it fits."""
    side = round(_MARGIN * crop.side)
    return CropBox(_moved(crop.centre[0], side, width), _moved(crop.centre[1], side, height), side)


def _moved(centre: float, side: int, limit: int) -> int:
    begin = round(centre - side / 2)
    return begin if side > limit else min(max(begin, 0), limit - side)
