"""Frames of rendered clips: as JPEG in memory and in the files that keep them."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from common.arrays import ByteArray, Image
from common.errors import SourceError

_JPEG_QUALITY = 88


def encoded(picture: Image) -> ByteArray:
    """A frame (H, W, 3) RGB as JPEG."""
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    return np.asarray(cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)[1].reshape(-1), np.uint8)


def decoded(frames: Sequence[ByteArray]) -> Iterator[Image]:
    """The frames (H, W, 3) RGB of a clip.

    Raises:
        SourceError: a frame is damaged.
    """
    for data in frames:
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
        if picture is None:
            raise SourceError("a frame of a rendered clip is damaged: empty the folder --clips")
        yield np.ascontiguousarray(picture[..., ::-1], np.uint8)
