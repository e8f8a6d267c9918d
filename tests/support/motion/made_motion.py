"""Motions for tests: somebody who glides, and the clips of the package as labels."""

import numpy as np
import torch

from common.arrays import FloatArray
from common.body.anatomy import JOINTS, SHAPE_SIZE
from common.body.label_space import LabelSpace
from common.body.model import BodyParameters, axis_angle_to_matrix
from common.synthetic.motion.poses import Clip
from common.synthetic.motion.retarget import Motion, motion_of


def gliding(name: str, frames: int, speed_mps: float = 0.0, fps: float = 30.0, curl: float | None = None) -> Motion:
    """Somebody in the rest pose who glides to the left; `curl` of all fingers, radians, None where not captured."""
    world = {joint: np.tile(np.eye(3), (frames, 1, 1)) for joint in JOINTS}
    root = np.zeros((frames, 3))
    root[:, 0] = speed_mps * np.arange(frames) / fps
    return motion_of(name, world, root, fps, curl=None if curl is None else np.full((frames, 4), curl))


def labels_of(clip: Clip) -> FloatArray:
    """(T, LABEL_SIZE) of a clip 8 m before the camera."""
    count = len(clip.root_translation)
    place = torch.from_numpy(clip.root_translation) + torch.tensor([0.0, 1.0, 8.0])
    rotations = axis_angle_to_matrix(torch.from_numpy(clip.rotation_vectors))
    bodies = BodyParameters(rotations, torch.zeros(count, 4), torch.zeros(count, SHAPE_SIZE), place)
    return LabelSpace.load().encode(bodies).numpy()
