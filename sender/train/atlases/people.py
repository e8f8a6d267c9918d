"""Rendered people who turn around before a camera, and the camera that observes their texture atlases."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch

from common.arrays import BoolArray, ByteArray, FloatArray, Image
from common.body.anatomy import REGIONS
from common.body.model import BodyModel, BodyParameters
from common.body.rotations import axis_angle_to_matrix
from common.frames import Camera
from common.synthetic.assets.appearance import Light
from common.synthetic.assets.body_canvas import Canvas
from common.synthetic.assets.outfit import Outfit
from common.synthetic.dataset.presets import EVERYDAY
from common.synthetic.dataset.split import Split, identity_rows
from common.synthetic.motion.motion_table import load_table
from common.synthetic.motion.poses import PoseSampler
from common.synthetic.renderer.renderer import Figure, Renderer, View
from common.synthetic.scene.dressing import Dresser, worn_body
from common.texture.atlas import AtlasLayout
from sender.perception.inference.crop import CropBox
from sender.perception.network.output import PerceptionOutput
from sender.texture.atlas_view import AtlasCamera, AtlasView
from sender.texture.observation import Observation

KNOWN_WEIGHT = 0.02
"""Weight from which a texel is known: people who turn around are seen once from each side."""


CAMERA = Camera(1280, 720, 1000.0)
_DISTANCE_M = 3.0
_CELLS = 64
_GREY = 128


@dataclass(frozen=True, eq=False)
class TexturePicture:
    """One person from one side.

    Args:
        lit: (H, W, 3) what the camera sees.
        unlit: (H, W, 3) the colours of skin and clothes, without light.
        mask: (H, W) bool.
        crop: the person's part.
        output: what perfect perception would say of mask and body regions.
        parameters: the true body.
        vertices: (V, 3) camera space, metres.
    """

    lit: Image
    unlit: Image
    mask: BoolArray
    crop: CropBox
    output: PerceptionOutput
    parameters: BodyParameters
    vertices: FloatArray


class AtlasPeople:
    """Renders people of one split, and observes their atlases; the same seed gives the same people.

    Args:
        seed: of the split's.

    Raises:
        RendererUnavailable: OpenGL is not available.
        ValueError: the seed belongs to another split.
    """

    def __init__(self, split: Split, seed: int, count: int) -> None:
        self.body = BodyModel.load()
        self.layout = AtlasLayout.from_body(self.body)
        self._camera = AtlasCamera(self.layout, self.body.faces.numpy(), self.body.vertex_region.numpy())
        self._renderer = Renderer(Canvas.from_model(self.body))
        self._dresser = Dresser(self._renderer.canvas, dressed=True)
        self._seed = seed
        self._poses = PoseSampler(split, seed, load_table(), EVERYDAY).sample(count)
        self._rows = identity_rows(split, len(self.body.shape_table))

    def rng(self, person: int, *purpose: int) -> np.random.Generator:
        """The randomness of one person for one purpose."""
        return np.random.default_rng([self._seed, person, *purpose])

    def view(self, picture: TexturePicture, image: Image) -> AtlasView:
        """What the lit or the unlit image of a picture shows of the atlas."""
        observation = Observation.from_output(picture.crop, picture.output)
        return self._camera.view(image, picture.crop, observation, picture.vertices, CAMERA)

    def pictures(self, person: int, yaws: list[float]) -> list[TexturePicture]:
        """A person from several sides, turned by the given angles in radians; 0 faces the camera."""
        (row, outfit, light), pictures = self._drawn(person), []
        for yaw in yaws:
            parameters = self._placed(person, row, yaw)
            with torch.inference_mode():
                figure = worn_body(self.body, outfit, self.body(parameters), 0, parameters.shape[0].numpy())
            pictures.append(self._picture(figure, light, parameters))
        return pictures

    def outfit(self, person: int) -> Outfit:
        """What a person wears."""
        return self._drawn(person)[1]

    def _drawn(self, person: int) -> tuple[int, Outfit, Light]:
        """A person's row in the table of shapes, outfit, and light."""
        rng = self.rng(person)
        return int(rng.choice(self._rows)), *self._dresser.draw(rng)

    def _placed(self, person: int, row: int, yaw: float) -> BodyParameters:
        rotations = axis_angle_to_matrix(torch.from_numpy(self._poses.rotation_vectors[person : person + 1]).float())
        rotations[:, 0] = axis_angle_to_matrix(torch.tensor([[0.0, yaw, 0.0]]))
        curl = torch.from_numpy(self._poses.curl[person : person + 1]).float()
        return BodyParameters(
            rotations, curl, self.body.shape_table[row : row + 1], torch.tensor([[0.0, 0.1, _DISTANCE_M]])
        )

    def _picture(self, figure: Figure, light: Light, parameters: BodyParameters) -> TexturePicture:
        view = View(CAMERA.width, CAMERA.height, CAMERA.focal_px)
        white = np.ones(3, np.float32)
        even = Light(np.eye(3, dtype=np.float32), np.zeros((3, 3), np.float32), white, white)
        lit, unlit = (self._renderer.render([figure], view, one) for one in (light, even))
        mask = lit.part > 0
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        crop = CropBox.around([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        images = [np.where(mask[..., None], one.colour[..., :3], _GREY).astype(np.uint8) for one in (lit, unlit)]
        return TexturePicture(
            images[0], images[1], mask, crop, perfect_output(lit.part, crop), parameters, figure.vertices
        )


def perfect_output(part: ByteArray, crop: CropBox) -> PerceptionOutput:
    """What perception would say if its mask and parts were right: (H, W) 0 background, 1 + region."""
    square = crop.cut(np.repeat(part[..., None], 3, axis=2), crop.side)[..., 0]
    coverage = cv2.resize((square > 0).astype(np.float32), (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
    centres = ((np.arange(_CELLS) + 0.5) * crop.side / _CELLS).astype(int)
    cells = np.minimum(square[centres[:, None], centres], len(REGIONS))
    parts = 12.0 * np.eye(1 + len(REGIONS), dtype=np.float32)[cells].transpose(2, 0, 1)
    unused: dict[str, Any] = {name: torch.zeros(1) for name in PerceptionOutput.__dataclass_fields__}
    used = {
        "mask_logits": torch.from_numpy(np.where(coverage > 0.5, 8.0, -8.0).astype(np.float32))[None],
        "part_logits": torch.from_numpy(parts)[None],
    }
    return PerceptionOutput(**(unused | used))
