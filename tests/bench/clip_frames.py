"""Frames of rendered clips as JPEG."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from common.arrays import ByteArray, Image
from common.synthetic.scene.degradations import add_sensor_noise

_JPEG_QUALITY = 88


def encoded(picture: Image) -> ByteArray:
    """A frame (H, W, 3) RGB as JPEG."""
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    return np.asarray(cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)[1].reshape(-1), np.uint8)


def encoded_with_noise(rng: np.random.Generator, picture: npt.ArrayLike) -> ByteArray:
    """A rendered frame (H, W, 3) RGB 0…255 with a sensor's noise, as JPEG."""
    noisy = add_sensor_noise(rng, np.asarray(picture, np.float32))
    return encoded(np.clip(noisy, 0, 255).astype(np.uint8))


def decoded(frames: Sequence[ByteArray]) -> Iterator[Image]:
    """The frames (H, W, 3) RGB of a clip."""
    for data in frames:
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert picture is not None
        yield np.ascontiguousarray(picture[..., ::-1], np.uint8)
