"""What a receiver has of a clip as joints and skin, and its errors.

Errors are relative to the midpoint of the hips, as in `tests.bench.rate`.  The skin is the bare body's: what is
reconstructed on top of it (clothes, surface) is the same function of the labels for every system.

Shapes: T frames; n frames of `chosen`, on which the skin is compared; V' vertices of the template.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from common.arrays import BoolArray, Float64Array, FloatArray
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyParameters, KeypointKinematics
from common.body.template import BodyTemplate
from common.labels import LABEL_SIZE, concatenate
from tests.bench.measures import Surface, centred, mean_distance_mm, surface_distances

Figures = dict[str, float]

# The skin is compared on one frame of so many.
_SKIN_STRIDE = 50
_SAMPLES = 1000
_BATCH = 16


def chosen(frames: int) -> range:
    """The frames whose skin is compared."""
    return range(0, frames, _SKIN_STRIDE)


@dataclass(frozen=True, eq=False)
class Posed:
    """A clip's bodies in camera space, metres; NaN in frames without a person.

    Args:
        joints: (T, 17, 3) COCO keypoints.
        skins: (n, V', 3) vertices of the template in the chosen frames.
    """

    joints: FloatArray
    skins: FloatArray


class Bodies:
    """The body model and its label space."""

    def __init__(self) -> None:
        self.space = LabelSpace.load()
        self._model = BodyModel.load()
        self._kinematics = KeypointKinematics(self._model)
        self.template = BodyTemplate.from_model(self._model)
        regressor = self._model.regressor[:, torch.from_numpy(self.template.kept)]
        # Eyeballs are not part of the template: the eyes' keypoints are regressed from what is left.
        self._regressor = (regressor / regressor.sum(1, keepdim=True)).numpy()

    def parameters(self, labels: FloatArray) -> BodyParameters:
        """Bodies of labels (T, LABEL_SIZE)."""
        with torch.inference_mode():
            return self.space.decode(torch.from_numpy(labels))

    @torch.inference_mode()
    def pose(self, parameters: BodyParameters) -> Posed:
        """Joints of all frames and skins of the chosen ones."""
        joints, _ = self._kinematics(parameters)
        skins = self.skins(parameters[torch.tensor(list(chosen(len(parameters))))])
        return Posed(joints.numpy(), skins)

    @torch.inference_mode()
    def skins(self, parameters: BodyParameters) -> FloatArray:
        """(B, V', 3) vertices of the template."""
        parts = [parameters[slice(start, start + _BATCH)] for start in range(0, len(parameters), _BATCH)]
        kept = torch.from_numpy(self.template.kept)
        vertices: list[Tensor] = [self._model(part).vertices[:, kept] for part in parts]
        return np.asarray(torch.cat(vertices).numpy())

    def mesh_joints(self, skins: FloatArray) -> FloatArray:
        """(B, 17, 3) keypoints of meshes (B, V', 3)."""
        return np.asarray(self._regressor @ skins, np.float32)

    def surface(self, skin: FloatArray, joints: FloatArray) -> Surface:
        """A skin (V', 3) relative to the hips of joints (17, 3)."""
        return Surface(centred(joints, skin), self.template.faces)


class Reference:
    """The bodies of a clip that every system is compared with, and the true joints.

    Args:
        labels: (T, LABEL_SIZE) uncompressed.
        truth: (T, 17, 3) true keypoints, metres.
    """

    def __init__(self, bodies: Bodies, labels: FloatArray, truth: FloatArray) -> None:
        self.bodies, self.labels = bodies, labels
        self.parameters = bodies.parameters(labels)
        self.posed = bodies.pose(self.parameters)
        self._truth = _centred(truth)
        self._joints = _centred(self.posed.joints)

    @cached_property
    def _mpjpe_mm(self) -> float:
        return mean_distance_mm(self._joints, self._truth)

    @cached_property
    def _surfaces(self) -> list[Surface]:
        frames = chosen(len(self.posed.joints))
        pairs = zip(self.posed.skins, self.posed.joints[list(frames)], strict=True)
        return [self.bodies.surface(skin, joints) for skin, joints in pairs]

    def errors(self, found: Posed) -> Figures:
        """Errors of bodies whose joints are the model's; of frames without a person, none."""
        joints = _centred(found.joints)
        shown: BoolArray = np.asarray(np.isfinite(joints).all(axis=(1, 2)))
        frames = [number for number in chosen(len(joints)) if shown[number]]
        skins = {number: skin for number, skin in zip(chosen(len(joints)), found.skins, strict=True) if shown[number]}
        surfaces = [self.bodies.surface(skins[number], found.joints[number]) for number in frames]
        references = [self._surfaces[chosen(len(joints)).index(number)] for number in frames]
        return {
            "added_joint_error_mm": mean_distance_mm(joints[shown], self._joints[shown]),
            "added_chamfer_mm": _chamfer_mm(surfaces, references),
            "mpjpe_mm": mean_distance_mm(joints[shown], self._truth[shown]),
        }

    def mesh_errors(self, skins: FloatArray) -> Figures:
        """Errors of meshes (n, V', 3) of the chosen frames, against the uncoded meshes of these frames."""
        frames = list(chosen(len(self.posed.joints)))
        joints, before = self.bodies.mesh_joints(skins), self.bodies.mesh_joints(self.posed.skins)
        surfaces = [self.bodies.surface(*pair) for pair in zip(skins, joints, strict=True)]
        # A mesh lacks the eyeballs: its joints are those of the model, moved as those regressed from the mesh are.
        moved = _centred(joints) - _centred(before)
        # The error of all frames, and what coding changes in the chosen ones.
        truth = self._truth[frames]
        uncoded = mean_distance_mm(self._joints[frames], truth)
        return {
            "added_joint_error_mm": 1000 * float(np.linalg.norm(moved, axis=-1).mean()),
            "added_chamfer_mm": _chamfer_mm(surfaces, self._surfaces),
            "mpjpe_mm": self._mpjpe_mm + mean_distance_mm(self._joints[frames] + moved, truth) - uncoded,
        }


def _chamfer_mm(found: Sequence[Surface], truth: Sequence[Surface]) -> float:
    distances = [surface_distances(*pair, samples=_SAMPLES)["chamfer_mm"] for pair in zip(found, truth, strict=True)]
    return float(np.mean(distances)) if distances else float("nan")


def _centred(joints: FloatArray) -> Float64Array:
    return np.stack([centred(frame) for frame in joints])


def held(labels: Sequence[Mapping[str, FloatArray] | None]) -> FloatArray:
    """(T, LABEL_SIZE) labels, those of the last person in frames without one, NaN before the first."""
    rows = np.full((len(labels), LABEL_SIZE), np.nan, np.float32)
    for number, groups in enumerate(labels):
        rows[number] = concatenate(groups) if groups is not None else rows[max(number - 1, 0)]
    return rows
