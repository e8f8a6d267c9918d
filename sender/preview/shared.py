"""Pictures for the people who watch the receiver: `--share-preview`."""

from collections.abc import Sequence

import cv2
import numpy as np

from common.arrays import Image
from common.blobs import MAX_PREVIEW_PX, PREVIEW, Blob
from common.clock import SYSTEM_CLOCK, Clock
from common.frames import PersonLabels
from sender.lookahead import Perceived

MAX_JPEG_BYTES = 3000
BYTES_PER_S = 4000.0
_PREVIEW_INTERVAL_S = 0.5
# Tried in this order until the picture is small enough; noise may be too large at all of them.
_QUALITIES = (55, 40, 25, 10)


class SharedPreview:
    """Makes a picture as often as a budget of bytes a second permits."""

    timed_as = "preview"

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._due_s = -float("inf")

    def update(self, perceived: Perceived, people: Sequence[PersonLabels]) -> list[Blob]:
        """The frame as a JPEG of at most `MAX_JPEG_BYTES`; none while none is due."""
        now_s = self._clock.monotonic()
        if now_s < self._due_s:
            return []
        jpeg = small_jpeg(perceived.frame.image)
        self._due_s = now_s + max(_PREVIEW_INTERVAL_S, (len(jpeg) if jpeg else 0) / BYTES_PER_S)
        return [Blob(PREVIEW, 0, jpeg)] if jpeg else []


def small_jpeg(image: Image) -> bytes | None:
    """A frame (H, W, 3) uint8 RGB scaled down to `MAX_PREVIEW_PX`; None if no quality makes it small enough."""
    height, width = image.shape[:2]
    scale = min(MAX_PREVIEW_PX / max(height, width), 1.0)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    small = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    for quality in _QUALITIES:
        encoded, jpeg = cv2.imencode(".jpg", small, (cv2.IMWRITE_JPEG_QUALITY, quality))
        if encoded and len(jpeg) <= MAX_JPEG_BYTES:
            return np.asarray(jpeg, np.uint8).tobytes()
    return None
