"""Keypoints of the animation that `receiver export` makes of a clip."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from common.arrays import Float64Array
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, KeypointKinematics
from common.frames import PersonLabels
from common.labels import concatenate
from receiver.export.ground.grounding import grounded
from receiver.mesh.mesh_files import Y_UP
from receiver.mesh.posing import joint_transforms
from tests.support.motion.moving_character import character_of


class ExportedJoints:
    """The keypoints of animations. Raises WeightsError if the label space is missing or of another version."""

    def __init__(self) -> None:
        self._space, self._model = LabelSpace.load(), BodyModel.load()
        self._kinematics = KeypointKinematics(self._model)

    @torch.inference_mode()
    def __call__(self, people: Sequence[PersonLabels | None], fps: float, *, timely: bool) -> Float64Array:
        """(T, 17, 3) in the camera's axes, metres, of one person in T frames; NaN where the person is None.

        Args:
            timely: whether no filter has delayed the people's labels.
        """
        joints = np.full((len(people), 17, 3), np.nan)
        known = [index for index, person in enumerate(people) if person is not None]
        if not known:
            return joints
        rows = [concatenate(person.labels) for person in people if person is not None]
        bodies = self._space.decode(torch.from_numpy(np.stack(rows)))
        shape = bodies.shape.median(dim=0).values.expand_as(bodies.shape)
        nearer = self._size_m(shape) / self._size_m(bodies.shape)
        character = character_of(replace(bodies, shape=shape, translation=bodies.translation * nearer), fps)
        motion = replace(character.motion, times_s=np.array(known) / fps)
        (placed,), placement = grounded([replace(character, motion=motion, timely=timely)])
        turn, position = placement.rotation, placement.position
        parents = placed.skeleton.parents.tolist()
        turns, _ = joint_transforms(placed.motion.rotations, parents, placed.offsets)
        roots = (placed.motion.root_positions - position) @ turn * Y_UP
        in_camera = (turn.T @ turns) * Y_UP[:, None] * Y_UP
        found = self._kinematics.keypoints(
            shape, torch.from_numpy(roots[:, None]).float(), torch.from_numpy(in_camera).float()
        )
        joints[known] = found.numpy()
        return joints

    def _size_m(self, shape: torch.Tensor) -> torch.Tensor:
        """(T, 1) the length of all bones."""
        rest = self._model.rest_joints_of(shape)
        lengths: torch.Tensor = torch.linalg.norm(rest[:, 1:] - rest[:, self._model.parents[1:]], dim=2)
        return lengths.sum(dim=1, keepdim=True)
