"""Pictures with the true bodies of the people in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch

from common.arrays import FloatArray, Image
from common.body.model import BodyModel, BodyOutput, BodyParameters
from receiver.mesh.triangle_mesh import SurfaceMesh
from sender.perception.crop import CropBox
from tests.bench.bytes.rate import demo_bodies
from tests.bench.measures import centred
from tests.bench.motion.moving_clips import CAMERA, MovingClipRenderer, decoded
from tests.bench.perceived import demo_frames

_body = cache(BodyModel.load)


@dataclass(frozen=True, eq=False)
class Footage:
    """T pictures of one person each, seen by `CAMERA`.

    Args:
        parameters: of the true bodies.
    """

    pictures: Sequence[Image]
    parameters: BodyParameters

    @cached_property
    @torch.inference_mode()
    def joints(self) -> FloatArray:
        """(T, 17, 3) true keypoints in camera space, metres."""
        parts = [self._vertices(start, start + 16) for start in range(0, len(self.pictures), 16)]
        return np.concatenate([_body().coco_keypoints(part).numpy() for part in parts])

    @torch.inference_mode()
    def mesh(self, index: int) -> SurfaceMesh:
        """The true body about the middle of its hips."""
        vertices = centred(self.joints[index], self._vertices(index, index + 1)[0]).astype(np.float32)
        return SurfaceMesh(vertices, _body().faces.numpy().astype(np.int32))

    def crop(self, index: int) -> CropBox:
        """The square around the true person that perception would read."""
        points = CAMERA.project(self.joints[index])
        return CropBox.around((*points.min(0), *points.max(0)))

    def _vertices(self, start: int, end: int) -> torch.Tensor:
        posed: BodyOutput = _body()(self.parameters[start:end])
        return posed.vertices


def demo(frames: int) -> Footage:
    """The demo clip's first frames. Raises SourceError if it is missing or damaged."""
    return Footage([frame.image for frame in demo_frames(frames)], demo_bodies()[:frames])


def filmed(renderer: MovingClipRenderer, *clip: int) -> Footage:
    """The clip of a seed and a number."""
    made = renderer.clip(*clip)
    return Footage(list(decoded(made.encoded)), made.parameters)


def strangers(seed: int, count: int) -> Footage:
    """Pictures of people and poses of the test split. Raises RendererUnavailable without OpenGL."""
    renderer = MovingClipRenderer(1)
    shots = [filmed(renderer, seed, number) for number in range(count)]
    parameters = BodyParameters.concatenate([shot.parameters for shot in shots])
    return Footage([shot.pictures[0] for shot in shots], parameters)
