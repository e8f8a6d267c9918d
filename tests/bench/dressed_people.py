"""Dressed people of the test split in pictures of several sides, with the true surface, for the benches of clothes.

The pictures are crops as in the rendered data sets: cameras, light, backgrounds, bystanders, occluders and degradations
of a preset.  A person keeps identity, clothes and light.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator

from common.arrays import FloatArray, Image
from common.body.model import BodyModel, BodyParameters
from common.body.rotations import axis_angle_to_matrix
from common.frames import Camera
from common.synthetic.assets.appearance import Light
from common.synthetic.assets.body_canvas import Canvas
from common.synthetic.clothed.shell import Shell, ShellMaker
from common.synthetic.dataset.presets import DatasetPreset
from common.synthetic.dataset.split import SEED_RANGES, Split, check_seed, identity_rows
from common.synthetic.kinds.outfits import KindOutfit
from common.synthetic.motion.motion_table import load_table
from common.synthetic.motion.poses import PoseSampler
from common.synthetic.renderer.renderer import Figure, Renderer, View
from common.synthetic.scene.backgrounds import BackgroundBank
from common.synthetic.scene.compositing import Layer, compose
from common.synthetic.scene.degradations import degrade
from common.synthetic.scene.dressing import ClothingTruth, Dresser
from common.synthetic.scene.framing import WHOLE, Framing, frame_people, sample_tilt
from tests.bench.crops import camera_of, worn_body

SIDES = 8
"""Pictures of a person, 45° of turn about the vertical apart."""
_BACKGROUNDS = 64
_BYSTANDERS = 16
_BOX_VERTEX_STEP = 19


@dataclass(frozen=True, eq=False)
class SidePicture:
    """One person from one side.

    Args:
        parameters: the true body, one row, camera space.
    """

    image: Image
    camera: Camera
    parameters: BodyParameters


@dataclass(frozen=True, eq=False)
class DressedPerson:
    """One person from all sides.

    Args:
        pictures: as the person turns.
        surface: (24,) true entries of the label group.
        shell: the true outer surface in the first picture's camera space, metres.
        keypoints: (17, 3) true keypoints in that space.
    """

    pictures: tuple[SidePicture, ...]
    surface: FloatArray
    shell: Shell
    keypoints: FloatArray


class DressedPeople:
    """Renders people of a split; the same seed gives the same people.

    Args:
        preset: distribution of poses, clothes and pictures.
        seed: from 0 within the split.
        size: side of the pictures, pixels.

    Raises:
        RendererUnavailable: OpenGL is not available.
        ValueError: the seed is beyond the split.
    """

    def __init__(self, body: BodyModel, preset: DatasetPreset, seed: int, size: int, split: Split = "test") -> None:
        self._body, self._preset, self._size, self._split = body, preset, size, split
        self._seed = check_seed(split, SEED_RANGES[split].start + seed)
        self._renderer = Renderer(Canvas.from_model(body))
        self._dresser = Dresser(self._renderer.canvas, dressed=True)
        self._shells = ShellMaker(self._renderer)
        self._clothing = ClothingTruth(body, self._renderer)
        self._rows = identity_rows(split, len(body.shape_table))
        self._box_vertices = np.unique(self._renderer.canvas.faces)[::_BOX_VERTEX_STEP]
        self._backgrounds = BackgroundBank(np.random.default_rng([self._seed, 1]), _BACKGROUNDS)

    def people(self, count: int, *, changing_pose: bool = False) -> Iterator[DressedPerson]:
        """People one after the other.

        Args:
            changing_pose: every picture has another pose.
        """
        poses = PoseSampler(self._split, self._seed, load_table(), self._preset).sample(count * SIDES)
        others: list[Layer] = []
        for number in range(count):
            rng = np.random.default_rng([self._seed, 2, number])
            rows = number * SIDES + (np.arange(SIDES) if changing_pose else np.zeros(SIDES, np.int64))
            vectors, curl = (torch.from_numpy(each[rows]).float() for each in (poses.rotation_vectors, poses.curl))
            yield self._person(rng, axis_angle_to_matrix(vectors), curl, others)
            del others[:-_BYSTANDERS]

    def _person(
        self, rng: Generator, rotations: torch.Tensor, curl: torch.Tensor, others: list[Layer]
    ) -> DressedPerson:
        shape = self._body.shape_table[int(rng.choice(self._rows))]
        outfit, light = self._dresser.draw(rng)
        assert isinstance(outfit, KindOutfit)
        # One person's sides have one heading apart from the turn, whatever the poses are.
        tilt = torch.from_numpy(sample_tilt(rng, 1))[0]
        rotations[:, 0] = tilt @ turns(SIDES) @ rotations[:1, 0]
        parameters, framing = self._framed(
            rng, BodyParameters(rotations, curl, shape.expand(SIDES, -1), torch.zeros(SIDES, 3))
        )
        with torch.inference_mode():
            posed = self._body(parameters)
            keypoints = self._body.coco_keypoints(posed.vertices[:1])[0].numpy()
        up = -tilt[:, 1].numpy()
        figures = [worn_body(self._body, outfit, posed, side, shape.numpy()) for side in range(SIDES)]
        images, layers = [], []
        for side, figure in enumerate(figures):
            image, layer = self._picture(rng, figure, light, up, framing, side, others)
            images.append(image)
            layers += [layer] if framing.kind[side] == WHOLE else []
        others += layers[:1]
        cameras = [camera_of(float(focal), self._size) for focal in framing.focal]
        pictures = [SidePicture(images[k], cameras[k], parameters[slice(k, k + 1)]) for k in range(SIDES)]
        surface = np.asarray(self._clothing.fields(outfit, shape.numpy())["surface"], np.float32)
        return DressedPerson(tuple(pictures), surface, self._shells.make(figures[0]), keypoints)

    def _framed(self, rng: Generator, at_origin: BodyParameters) -> tuple[BodyParameters, Framing]:
        """The bodies before cameras of the preset."""
        with torch.inference_mode():
            vertices = self._body(at_origin).vertices[:, self._box_vertices].numpy()
        framing = frame_people(rng, vertices, self._renderer.canvas.region[self._box_vertices], self._preset)
        moved = torch.from_numpy(framing.translation)
        return BodyParameters(at_origin.rotations, at_origin.curl, at_origin.shape, moved), framing

    def _picture(
        self,
        rng: Generator,
        figure: Figure,
        light: Light,
        up: FloatArray,
        framing: Framing,
        side: int,
        others: list[Layer],
    ) -> tuple[Image, Layer]:
        # Twice the resolution smooths the outline.
        view = View(2 * self._size, 2 * self._size, float(framing.focal[side]) * 2 * self._size)
        layer = Layer.from_rendering(self._renderer.render([figure], view, light, up))
        kind, box = int(framing.kind[side]), framing.box[side]
        picture = compose(rng, layer, self._backgrounds, others, box, kind, self._preset)
        return degrade(rng, picture.image), layer


def turns(count: int) -> torch.Tensor:
    """(count, 3, 3) rotations about the vertical, equally spaced over a full turn, beginning with none."""
    angle = 2 * torch.pi * torch.arange(count) / count
    return axis_angle_to_matrix(angle[:, None] * torch.tensor([0.0, 1.0, 0.0]))
