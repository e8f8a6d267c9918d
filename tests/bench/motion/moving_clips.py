"""Rendered clips of one moving person before a camera, with the true keypoints of every frame in 3D.

The motions and identities are those of the test split.  In every third clip the person turns once around on the spot.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from common.arrays import ByteArray, FloatArray, Image
from common.body.model import BodyModel, BodyParameters
from common.frames import Camera
from common.synthetic.assets.garments import Canvas
from common.synthetic.dataset import identity_rows
from common.synthetic.motion.poses import Clip, clips
from common.synthetic.renderer import Renderer
from common.synthetic.scene.backgrounds import add_sensor_noise
from tests.support.motion.rendered_clip import (
    FOCAL_PX,
    HEIGHT,
    WIDTH,
    choose_clip,
    draw,
    place_motion,
    turned,
)

FRAMES = 60
_JPEG_QUALITY = 88
CAMERA = Camera(WIDTH, HEIGHT, FOCAL_PX)


@dataclass(frozen=True, slots=True)
class MovingClip:
    """One clip, seen by `CAMERA` at 30 frames a second.

    Args:
        motion: name of the captured motion.
        encoded: T frames as JPEG.
        joints_3d: (T, 17, 3) true keypoints in camera space, metres.
        parameters: the true bodies.
    """

    motion: str
    encoded: tuple[ByteArray, ...]
    joints_3d: FloatArray
    parameters: BodyParameters


class MovingClipRenderer:
    """Renders clips; the same seed and number give the same clip.

    Args:
        frames: T of each clip.

    Raises:
        RendererUnavailable: OpenGL over EGL is not available.
    """

    def __init__(self, frames: int = FRAMES) -> None:
        self._frames = frames
        self._model = BodyModel.load()
        self._rows = identity_rows("test", len(self._model.shape_table))
        self._renderer = Renderer(Canvas.from_model(self._model))
        self._motions = sorted(clip.name for clip in clips("test"))

    def clip(self, seed: int, number: int) -> MovingClip:
        """Clip `number` of a seed."""
        rng = np.random.default_rng([seed, number])
        motion = choose_clip(self._motions[number % len(self._motions)], self._frames)
        revolutions = 1.0 if number % 3 == 2 else 0.0
        motion = turned(motion, float(rng.uniform(0, 2 * np.pi)), revolutions)
        return self.of(motion, seed, number, rng)

    def of(self, motion: Clip, seed: int, number: int, rng: np.random.Generator | None = None) -> MovingClip:
        """A clip of a motion of T frames, by somebody whom `number` of a seed (or `rng`) chooses."""
        rng = rng or np.random.default_rng([seed, number])
        placed = place_motion(self._model, motion, int(rng.choice(self._rows)))
        pictures = draw(self._renderer, placed, int(rng.integers(1 << 31)))
        jpegs = tuple(encoded_with_noise(rng, picture) for picture in pictures)
        joints = placed.keypoints.astype(np.float32)
        return MovingClip(motion.name, jpegs, joints, placed.parameters)


def encoded_with_noise(rng: np.random.Generator, picture: npt.ArrayLike) -> ByteArray:
    """A rendered frame (H, W, 3) RGB 0…255 with a sensor's noise, as JPEG."""
    noisy = np.clip(add_sensor_noise(rng, np.asarray(picture, np.float32)), 0, 255).astype(np.uint8)
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    return np.asarray(cv2.imencode(".jpg", cv2.cvtColor(noisy, cv2.COLOR_RGB2BGR), options)[1].reshape(-1), np.uint8)


def decoded(frames: Sequence[ByteArray]) -> Iterator[Image]:
    """The frames (H, W, 3) RGB of a clip."""
    for data in frames:
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert picture is not None
        yield np.ascontiguousarray(picture[..., ::-1], np.uint8)
