"""When frames are searched for new people: at intervals, longer ones while nothing changes beside the known people."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from common.arrays import BoolArray, Box, FloatArray, Image

# Least time between searches, and between urgent ones, seconds.
_PAUSE_S, _URGENT_PAUSE_S = 0.29, 0.03
# Of so many searches of a scene in which nothing changes, one takes place.
_STILL = 4
# Cells of the longer side of the picture that changes are seen in; a cell averages the noise of its pixels away.
_CELLS = 64
# Least change of a cell's brightness, 0…255, and the least number of such cells.
_LEAST_CHANGE, _LEAST_CELLS = 8.0, 3
# Part of a box's size by which its person, or a shadow, may reach beyond it.
_MARGIN = 0.3


class SearchSchedule:
    """The schedule of a source."""

    def __init__(self) -> None:
        self._searches = 0
        self._last_s, self._searched_s = 0.0, -math.inf
        self._left_out = 0
        self._scene: tuple[FloatArray, BoolArray] | None = None

    @property
    def round(self) -> int:
        """Rounds of two searches: what was rejected is not looked at again before the next one."""
        return self._searches // 2

    def searches(self, image: Image, boxes: Sequence[Box], now_s: float, *, urgent: bool) -> bool:
        """Whether the next frame is searched.

        Args:
            boxes, now_s: as for `due`.
            urgent: somebody has just been lost, or a box may have drifted.
        """
        due = self.due(image, boxes, now_s)
        # Frames that follow each other faster show the detector the same.
        if not due and (now_s - self._searched_s < _URGENT_PAUSE_S or (boxes and not urgent)):
            return False
        self._searched_s = now_s
        return True

    def due(self, image: Image, boxes: Sequence[Box], now_s: float) -> bool:
        """Whether the next frame (H, W, 3) must be searched.

        Args:
            boxes: (x0, y0, x1, y1) of the people who are followed.
            now_s: since the source's first frame.
        """
        if now_s - self._last_s < _PAUSE_S:
            return False
        self._last_s = now_s
        changes = not boxes or self._changes(image, boxes)
        if not changes and self._left_out < _STILL - 1:
            self._left_out += 1
            return False
        self._searches, self._left_out = self._searches + 1, 0
        return True

    def _changes(self, image: Image, boxes: Sequence[Box]) -> bool:
        """Whether a frame differs from the one before where the boxes of people are in neither.

        A change of the whole picture's brightness does not count.
        """
        scale = _CELLS / max(image.shape[:2])
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).mean(2, dtype=np.float32)
        outside = np.ones(small.shape, np.bool_)
        for box in boxes:
            margin = _MARGIN * (box[2:] - box[:2])
            x0, y0 = np.maximum((box[:2] - margin) * scale, 0).astype(int)
            x1, y1 = np.ceil((box[2:] + margin) * scale).astype(int)
            outside[y0:y1, x0:x1] = False
        last, self._scene = self._scene, (small, outside)
        if last is None or last[0].shape != small.shape:
            return True
        difference = (small - last[0])[outside & last[1]]
        if not difference.size:
            return True
        return int((np.abs(difference - np.median(difference)) > _LEAST_CHANGE).sum()) >= _LEAST_CELLS
