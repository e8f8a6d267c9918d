"""A rendered person with the output of perfect perception."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch

from common.arrays import BoolArray, ByteArray, FloatArray, Image
from common.body.anatomy import REGIONS
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyParameters, axis_angle_to_matrix
from common.frames import Camera, PersonLabels
from common.labels import split
from common.synthetic.assets.appearance import Appearance, Light
from common.synthetic.renderer import Figure, Renderer, View
from sender.capture.source import CapturedFrame
from sender.perception.crop import CropBox
from sender.perception.perception_network import PerceptionOutput
from sender.perception.track import ObservedPerson, TrackedPerson
from tests.support.meshes.skin_points import skin_points

CAMERA = Camera(480, 640, 800.0)
CROP = CropBox(-25, 73, 530)
BACKGROUND = (255, 0, 255)
COARSE, FINE = 64, 192
"""Cells along a side of mask and part map: as in perception's output, and enough for an exact mask."""


def even_light() -> Light:
    """Ambient light only, so that rendered colours equal the painted ones."""
    white = np.ones(3, np.float32)
    return Light(np.eye(3, dtype=np.float32), np.zeros((3, 3), np.float32), white, white)


@dataclass(frozen=True, eq=False)
class RenderedPerson:
    """An image of one person, and its ground truth.

    Args:
        image: (H, W, 3), the person in front of `BACKGROUND`.
        part: (H, W) 0 background, 1 + region index.
        depth: (H, W) metres; 0 off the person.
        parameters: the true body.
        points: (2048, 3) true surface points, camera space, metres.
        normals: (2048, 3).
    """

    image: Image
    part: ByteArray
    depth: FloatArray
    parameters: BodyParameters
    points: FloatArray
    normals: FloatArray

    @property
    def frame(self) -> CapturedFrame:
        """The image as a frame of a clip."""
        return CapturedFrame(0, "clip.mp4", 1000.0, 0.0, self.image, CAMERA)

    def observed(self, identity: int = 0, cells: int = COARSE) -> ObservedPerson:
        """As perfect perception would observe it."""
        square = CROP.cut(np.repeat(self.part[..., None], 3, axis=2), CROP.side)[..., 0]
        coverage = cv2.resize((square > 0).astype(np.float32), (cells, cells), interpolation=cv2.INTER_AREA)
        person = coverage > (0.999 if cells == FINE else 0.5)
        centres = ((np.arange(cells) + 0.5) * CROP.side / cells).astype(int)
        part = square[centres[:, None], centres]
        logits = 12.0 * np.eye(1 + len(REGIONS), dtype=np.float32)[part].transpose(2, 0, 1)
        rows = np.clip(centres + CROP.top, 0, CAMERA.height - 1)
        columns = np.clip(centres + CROP.left, 0, CAMERA.width - 1)
        depth = self.depth[rows[:, None], columns] - float(self.parameters.translation[0, 2])
        unused: dict[str, Any] = {name: torch.zeros(1) for name in PerceptionOutput.__dataclass_fields__}
        used = {
            "mask_logits": torch.from_numpy(np.where(person, 8.0, -8.0).astype(np.float32))[None],
            "part_logits": torch.from_numpy(logits)[None],
            "depth": torch.from_numpy(np.where(person, depth, 0).astype(np.float32))[None],
            "region_colours": torch.full((1, len(REGIONS), 3), 0.5),
        }
        return ObservedPerson(TrackedPerson(identity), 1.0, CROP, PerceptionOutput(**(unused | used)))

    def labels(self, space: LabelSpace, identity: int = 0) -> PersonLabels:
        """The true labels."""
        return PersonLabels(identity, 1.0, split(space.encode(self.parameters)[0].numpy()))

    def truly_visible(self) -> BoolArray:
        """(2048,) points that the image shows at their pixel, by its exact depth, and not obliquely."""
        pixels = (CAMERA.focal_px * self.points[:, :2] / self.points[:, 2:] + [240, 320]).astype(int)
        inside = ((pixels >= 0) & (pixels < [CAMERA.width, CAMERA.height])).all(axis=1)
        x, y = np.clip(pixels, 0, [CAMERA.width - 1, CAMERA.height - 1]).T
        cosine = -(self.points * self.normals).sum(axis=1) / np.linalg.norm(self.points, axis=1)
        return np.asarray(inside & (cosine > 0.3) & (np.abs(self.depth[y, x] - self.points[:, 2]) < 0.02))


def render_person(
    renderer: Renderer,
    model: BodyModel,
    appearance: Appearance,
    yaw: float = 0.0,
    light: Light | None = None,
    pose: torch.Tensor | None = None,
) -> RenderedPerson:
    """Renders a person 3.2 m away.

    Args:
        yaw: rotation about the vertical, radians.
        light: even by default.
        pose: (22, 3, 3) local rotations except for the root's; the rest pose by default.
    """
    parameters = BodyParameters.rest(1, 3.2)
    if pose is not None:
        parameters.rotations[0] = pose
    parameters.rotations[:, 0] = axis_angle_to_matrix(torch.tensor([[0.0, yaw, 0.0]]))
    with torch.no_grad():
        vertices = model(parameters).vertices[0].numpy()
    points, normals = skin_points(model, vertices)
    view = View(CAMERA.width, CAMERA.height, CAMERA.focal_px)
    drawn = renderer.render([Figure(vertices, appearance)], view, light or even_light())
    image = np.where(drawn.part[..., None] > 0, drawn.colour[..., :3], BACKGROUND).astype(np.uint8)
    return RenderedPerson(image, drawn.part, drawn.depth, parameters, points, normals)
