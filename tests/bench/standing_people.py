"""Whole pictures of dressed people of the test split who stand in a room, as a camera sees them."""

from dataclasses import replace

import cv2
import numpy as np
import torch

from common.arrays import Image
from common.body.model import BodyModel
from common.synthetic.assets.appearance import sample_appearance, sample_light
from common.synthetic.assets.body_canvas import Canvas
from common.synthetic.assets.garment import PosedSkeleton
from common.synthetic.assets.tailored_outfit import choose_tailored_outfit
from common.synthetic.assets.wardrobe import Wardrobe
from common.synthetic.dataset.split import identity_rows
from common.synthetic.motion.motion_table import Clip, clips
from common.synthetic.render_clip import HEIGHT, WIDTH, place_motion
from common.synthetic.renderer.renderer import Renderer, View
from common.synthetic.scene.backgrounds import make_room
from common.synthetic.scene.scene import worn_figure
from tests.bench.moving_clips import CAMERA, turned

_MOTION = "cmu/002_06"
_LARGEST_HEADING_RAD = 0.7
_BLUR_PX = 1.2


class StandingPeople:
    """Renders people; the same seed and number give the same picture.

    Raises:
        RendererUnavailable: OpenGL is not available.
    """

    def __init__(self, body: BodyModel, seed: int) -> None:
        self._body, self._seed = body, seed
        self._renderer = Renderer(Canvas.from_model(body))
        self._wardrobe = Wardrobe.load(self._renderer.canvas)
        self._rows = identity_rows("test", len(body.shape_table))
        self._motion = next(clip for clip in clips("test") if clip.name == _MOTION)

    def picture(self, number: int) -> Image:
        """(480, 640, 3) RGB of one person before `moving_clips.CAMERA`, the whole body in the picture."""
        rng = np.random.default_rng([self._seed, number])
        placed = place_motion(self._body, self._pose(rng), int(rng.choice(self._rows)))
        with torch.inference_mode():
            posed = self._body(placed.parameters)
            rest = self._body.rest_joints_of(placed.parameters.shape)[0].numpy()
        shape = placed.parameters.shape[0].numpy()
        outfit = choose_tailored_outfit(rng, self._wardrobe, sample_appearance(rng))
        skeleton = PosedSkeleton(shape, rest, posed.joint_positions[0].numpy(), posed.joint_rotations[0].numpy())
        figure = worn_figure(outfit, posed.vertices[0].numpy(), skeleton)
        view = View(2 * WIDTH, 2 * HEIGHT, 2 * CAMERA.focal_px)
        rendering = self._renderer.render([figure], view, sample_light(rng))
        person = cv2.resize(rendering.colour, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float32)
        room = cv2.GaussianBlur(make_room(rng, WIDTH), (0, 0), _BLUR_PX)[WIDTH - HEIGHT :]
        return (
            np.asarray(person[..., :3] + (1 - person[..., 3:] / 255) * room, np.float32).clip(0, 255).astype(np.uint8)
        )

    def _pose(self, rng: np.random.Generator) -> Clip:
        """One frame of a captured motion, about facing the camera."""
        frame = int(rng.integers(len(self._motion.rotation_vectors)))
        still = replace(
            self._motion,
            rotation_vectors=self._motion.rotation_vectors[frame : frame + 1],
            root_translation=self._motion.root_translation[frame : frame + 1],
        )
        return turned(still, float(rng.uniform(-_LARGEST_HEADING_RAD, _LARGEST_HEADING_RAD)), 0.0)
