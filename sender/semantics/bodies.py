"""Bodies as labels of a crop and of the frame: entries, keypoints and their derivatives, as arrays or as tensors.

NumPy takes a third of PyTorch's time for a hundred operations on a few numbers; PyTorch's become one graph on a GPU.

A crop does not show whether a person is near and the focal length short, or the person far and the focal length long.
In a crop, the `root` group therefore has the pelvis' position in the crop (u, v) and the log of the metres that the
crop spans at the pelvis; the focal length turns these into a translation.  The other groups are as in `common.labels`.

Derivatives of keypoints are in closed form.  What is at or below a bone a carries the keypoint's share

    m_a = Σ_{b at or below a} R_b d_b

away from the head of a, with the arms d of `common.body.model.KeypointKinematics`; below the root, that is the keypoint
from the pelvis.  Turning a about its head by the small vector ω moves the keypoint by ω × m_a.  A bone's rotation
vector v turns it by ω = R_parent J(v) dv, where J is the left Jacobian of SO(3).  Rotation vectors are affine in the
entries, the arms in the shape.

Shapes: B people, E = 80 entries (every group but `appearance`, in the order of the vocabulary), P = 61 of them of the
pose below the root, K = 17 keypoints, S = 52 bones, N = 26 of them that move a keypoint.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from common.arrays import Float64Array, FloatArray
from common.body.label_space import TRANSLATION_MEAN, TRANSLATION_SCALE, LabelSpace
from common.body.model import (
    BodyModel,
    BodyParameters,
    KeypointKinematics,
    ancestors,
    cross_matrix,
    matrix_to_rotation_6d,
    rotation_6d_to_matrix,
)
from common.frames import Camera
from common.labels import LABEL_SIZE, ROTATION_SCALE, group_slices
from sender.perception.crop import CropBox, ray_rotation, to_crop, to_frame
from sender.perception.perception_network import PerceptionOutput, pose_of_features
from sender.perception.track import ObservedPerson

Array = Any
"""A float32 array, or a tensor on any device."""


def namespace(array: Array) -> Any:
    """The module whose functions take an array; those that both have are used."""
    return np if isinstance(array, np.ndarray) else torch


def selected(array: Array, index: Array) -> Array:
    """The elements along the second axis at an index."""
    return array.take(index, 1) if isinstance(array, np.ndarray) else array.index_select(1, index)


def solved(matrices: Array, columns: Array) -> Array:
    """(B, N, 1) the solutions x of matrices (B, N, N) times x = columns (B, N, 1)."""
    if isinstance(matrices, np.ndarray):
        return np.linalg.solve(matrices, columns)
    # Without the check, which would wait for a GPU.
    return torch.linalg.solve_ex(matrices, columns)[0]


ENTRIES: int = group_slices()["appearance"].start
"""E: those of every group up to `hands`."""

_LOG_EXTENT_RANGE = (-3, 4)
# u, v and the log of the metres that the crop spans: their entries in `root`, mean and scale.
PELVIS = slice(group_slices()["root"].start + 6, group_slices()["root"].stop)
_LEAST_DEPTH_M = 0.05
_PELVIS_MEAN = (0.5, 0.5, 0.7)
_PELVIS_SCALE = (0.1, 0.1, 0.4)


def crop_entries(space: LabelSpace, parameters: BodyParameters, focal: Tensor) -> Tensor:
    """(B, E) entries of bodies in the crop's camera space.

    Args:
        focal: (B,) focal length in crop widths.
    """
    x, y, z = parameters.translation.unbind(-1)
    pelvis = torch.stack([0.5 + focal * x / z, 0.5 + focal * y / z, (z / focal).log()], dim=-1)
    return _entries(space, parameters.rotations, parameters.curl, parameters.shape, pelvis)


def _entries(space: LabelSpace, rotations: Tensor, curl: Tensor, shape: Tensor, pelvis: Tensor) -> Tensor:
    """`crop_entries`, with u, v of the pelvis and the log of the metres that the crop spans there (B, 3)."""
    columns = zip(pelvis.unbind(1), _PELVIS_MEAN, _PELVIS_SCALE, strict=True)
    position = torch.stack([(value - mean) / scale for value, mean, scale in columns], 1)
    orientation = matrix_to_rotation_6d(rotations[:, 0]) / ROTATION_SCALE
    return torch.cat([orientation, position, shape, space.encode_pose(rotations, curl)], 1)


def body_in_crop(space: LabelSpace, entries: Tensor, focal: Tensor) -> BodyParameters:
    """The inverse of `crop_entries`: bodies from entries (B, E) and focal lengths (B,) in crop widths."""
    body = space.decode(functional.pad(entries, (0, LABEL_SIZE - ENTRIES)))
    return replace(body, translation=pelvis_in_crop(entries, focal[:, None]))


def pelvis_in_crop(entries: Array, focal: Array) -> Array:
    """The pelvis (B, 3) in the crop's camera space, metres, of entries (B, E) and focal lengths (B, 1)."""
    log_extent = entries[:, 8:9] * _PELVIS_SCALE[2] + _PELVIS_MEAN[2]
    extent = namespace(entries).exp(log_extent.clip(*_LOG_EXTENT_RANGE))
    return namespace(entries).concatenate((_PELVIS_SCALE[0] * entries[:, 6:8] * extent, extent * focal), 1)


def entries_of_pelvis(pelvis: Array, focal: Array) -> Array:
    """(B, 3) the pelvis' entries, of pelvises (B, 3) before the crop's camera; the inverse of `pelvis_in_crop`."""
    xp, depth = namespace(pelvis), pelvis[:, 2:].clip(_LEAST_DEPTH_M)
    log_extent = (xp.log(depth / focal) - _PELVIS_MEAN[2]) / _PELVIS_SCALE[2]
    return xp.concatenate((focal * pelvis[:, :2] / depth / _PELVIS_SCALE[0], log_extent), 1)


def pelvis_by_entries(pelvis: Array, focal: Array) -> Array:
    """(B, 3, 3) the derivatives of `pelvis_in_crop` by the pelvis' entries, the last three of `root`."""
    xp = namespace(pelvis)
    across = _PELVIS_SCALE[0] * pelvis[:, 2:] / focal
    none = xp.zeros_like(across)
    columns = ((across, none, none), (none, across, none))
    return xp.stack((*(xp.concatenate(column, 1) for column in columns), _PELVIS_SCALE[2] * pelvis), 2)


def pose_entries(space: LabelSpace, features: Tensor) -> Tensor:
    """(B, E) entries of the pose head's body, clamped to ±5 because an untrained head may be far off."""
    rotations, shape, curl, camera = pose_of_features(features)
    pelvis = torch.cat([camera[:, :2], camera[:, 2:].clamp(*_LOG_EXTENT_RANGE)], 1)
    return _entries(space, rotation_6d_to_matrix(rotations), curl, shape, pelvis).clamp(-5, 5)


_SHAPE = group_slices()["shape"]
_POSE = slice(_SHAPE.stop, ENTRIES)
CROSS = cross_matrix(torch.eye(3)).flatten(1).numpy()
"""(3, 9) makes the matrix of × from a vector."""
# Added to squares, so that quotients stay finite.
_LEAST = 1e-16


@dataclass(frozen=True, slots=True)
class KeypointJacobian:
    """Computes keypoints with their derivatives, for many people at once.

    Args:
        at_mean, vectors: (3 (N − 1),) and (E, 3 (N − 1)), the rotation vectors of the mean and by the entries.
        by_pose: (N − 1, 3, P) the same by the pose's entries.
        parents: (N − 1,) of the bones below the root.
        above: (…, N + 1) of each bone the one above, the one two above, four, …; N, which never turns, where none is.
        below: (N, N) 1 where the column's bone is the row's, or below it.
        arms, arms_by_shape: (3 N K,) of the mean shape, and (10, 3 N K) by its coefficients.
        by_shape: (3 N, 10 K) the same.
        unturned: (3, 3) the unit matrix.
        cross: (3, 9) makes the matrix of × from a vector.
        third, sign: (9 N K,) of each element of the matrices of × moment, (K, 3, N, 3), its place in the moments
            (N, 3, K), and its sign.
        unit_entries, not_pelvis: (E, E) the unit matrix, and (E,) 0 for the pelvis' entries, else 1.
    """

    at_mean: Array
    vectors: Array
    by_pose: Array
    parents: Array
    above: Array
    below: Array
    arms: Array
    arms_by_shape: Array
    by_shape: Array
    unturned: Array
    cross: Array
    third: Array
    sign: Array
    unit_entries: Array
    not_pelvis: Array

    @classmethod
    @lru_cache(maxsize=1)
    def load(cls) -> Self:
        """For the body and the labels of the package; raises WeightsError if a file of them is missing or damaged."""
        return cls.of_body(LabelSpace.load(), KeypointKinematics(BodyModel.load()))

    @classmethod
    def of_body(cls, space: LabelSpace, kinematics: KeypointKinematics) -> Self:
        """Of the body's bones that move a keypoint, as arrays."""
        body = kinematics.body
        bones = (kinematics.weights_below > 0).any(0).nonzero()[:, 0]
        place = {bone: index for index, bone in enumerate(bones.tolist())}
        parents = [place.get(body.parents[bone], -1) for bone in bones.tolist()]
        at_mean, vectors = (
            each.unflatten(-1, (-1, 3))[..., bones[1:] - 1, :].flatten(-2) for each in space.rotation_vectors(body)
        )
        arms = kinematics.arms.unflatten(1, (len(body.parents), 3, -1)).index_select(1, bones)
        tensors = (
            at_mean,
            vectors[:ENTRIES],
            vectors[_POSE].T.unflatten(0, (-1, 3)),
            torch.tensor(parents[1:]),
            torch.tensor(ancestors(parents)),
            kinematics.below[bones][:, bones],
            arms[0].flatten(),
            arms[1:].flatten(1),
            arms[1:].permute(1, 2, 3, 0).reshape(3 * len(bones), -1),
            torch.eye(3),
            torch.from_numpy(CROSS),
            *_cross_products(len(bones), arms.shape[3]),
            torch.eye(ENTRIES),
            torch.ones(ENTRIES).index_fill(0, torch.arange(ENTRIES)[PELVIS], 0),
        )
        return cls(*(np.ascontiguousarray(tensor.numpy()) for tensor in tensors))

    def derivatives(self, entries: Array, focal: Array) -> tuple[Array, Array, Array]:
        """Of entries (B, E), with focal lengths (B, 1) in crop widths.

        Returns:
            Keypoints (B, K, 3) from the pelvis and the pelvis (B, 3), in the crop's camera space, metres; derivatives
            (B, K, 3, E) of the keypoints in camera space.
        """
        xp, people = namespace(entries), len(entries)
        root, local, jacobians = self._turns(entries)
        rotations = self._in_camera(root, local)
        bones = rotations[:, :-1]
        moments = self.below @ (bones @ self._arms_of(entries)).reshape(people, len(self.below), -1)
        matrices = (selected(moments.reshape(people, -1), self.third) * self.sign).reshape(
            people, -1, 3 * len(self.below)
        )
        turned = selected(rotations, self.parents) @ jacobians @ self.by_pose
        by_shape = bones.swapaxes(1, 2).reshape(people, 3, -1) @ self.by_shape
        pelvis, keypoints = pelvis_in_crop(entries, focal), matrices.shape[1] // 3
        columns = (
            (matrices[..., :3] @ self._by_orientation(entries, root)).reshape(people, keypoints, 3, -1),
            xp.broadcast_to(pelvis_by_entries(pelvis, focal)[:, None], (people, keypoints, 3, 3)),
            by_shape.reshape(people, 3, keypoints, -1).swapaxes(1, 2),
            (matrices[..., 3:] @ turned.reshape(people, -1, turned.shape[-1])).reshape(people, keypoints, 3, -1),
        )
        from_pelvis = moments[:, 0].reshape(people, 3, keypoints).swapaxes(1, 2)
        return from_pelvis, pelvis, xp.concatenate(columns, 3)

    def keypoints(self, entries: Array) -> Array:
        """(B, K, 3) of entries (B, E), from the pelvis, in the crop's camera space, metres."""
        rotations, people = self._in_camera(*self._turns(entries)[:2])[:, :-1], len(entries)
        arms = self._arms_of(entries).reshape(people, rotations.shape[1] * 3, -1)
        return (rotations.swapaxes(1, 2).reshape(people, 3, -1) @ arms).swapaxes(1, 2)

    def _turns(self, entries: Array) -> tuple[Array, Array, Array]:
        """Rotations from each bone's frame to the one above, (B, 3, 3) of the root, (B, N − 1, 3, 3) of the others;
        left Jacobians of the latter."""
        xp = namespace(entries)
        vectors = (self.at_mean + entries @ self.vectors).reshape(len(entries), -1, 1, 3)
        angle = xp.sqrt(vectors @ vectors.swapaxes(2, 3) + _LEAST)
        cross = (vectors / angle @ self.cross).reshape(len(entries), -1, 3, 3)
        square, half_sine, sinc = cross @ cross, xp.sin(0.5 * angle), xp.sin(angle) / angle
        versine = 2 * half_sine * half_sine
        local = self.unturned + (sinc * angle) * cross + versine * square
        jacobians = self.unturned + (versine / angle) * cross + (1 - sinc) * square
        return orientation(entries, self.cross), local, jacobians

    def _in_camera(self, root: Array, local: Array) -> Array:
        """(B, N + 1, 3, 3) from each bone's frame to the camera's, then the unit matrix: each round doubles the bones
        that are multiplied."""
        xp = namespace(root)
        unturned = xp.broadcast_to(self.unturned, (len(root), 1, 3, 3))
        turns = xp.concatenate((root[:, None], local, unturned), 1)
        for above in self.above:
            turns = selected(turns, above) @ turns
        return turns

    def _arms_of(self, entries: Array) -> Array:
        """(B, N, 3, K) in the bones' frames."""
        arms = self.arms + entries[:, _SHAPE] @ self.arms_by_shape
        return arms.reshape(len(entries), len(self.below), 3, -1)

    def _by_orientation(self, entries: Array, root: Array) -> Array:
        """(B, 3, 6) what the entries of the root's orientation turn the body about.

        Gram-Schmidt makes the axes x, y, z of columns a, b, which turn by

            [x] da / |a| + x zᵀ (db − (x · b) da / |a|) / (y · b)        [x] the matrix of x ×
        """
        xp = namespace(entries)
        a, b = (ROTATION_SCALE * entries[:, part, None] for part in (slice(0, 3), slice(3, 6)))
        x, y, z = (root[..., axis : axis + 1] for axis in range(3))
        across = x @ (z / (y.swapaxes(1, 2) @ b + _LEAST)).swapaxes(1, 2)
        matrix = (x.swapaxes(1, 2) @ self.cross).reshape(-1, 3, 3)
        by_a = (matrix - (x.swapaxes(1, 2) @ b) * across) / xp.sqrt(a.swapaxes(1, 2) @ a + _LEAST)
        return ROTATION_SCALE * xp.concatenate((by_a, across), 2)


def orientation(entries: Array, cross: Array) -> Array:
    """The orientations (B, 3, 3) of the root in entries (B, E), by `CROSS` as an array or a tensor."""
    xp = namespace(entries)
    a, b = entries[:, 0:3, None], entries[:, 3:6, None]
    x = a / xp.sqrt(a.swapaxes(1, 2) @ a + _LEAST)
    b = b - (x.swapaxes(1, 2) @ b) * x
    y = b / xp.sqrt(b.swapaxes(1, 2) @ b + _LEAST)
    z = (x.swapaxes(1, 2) @ cross).reshape(-1, 3, 3) @ y
    return xp.concatenate((x, y, z), 2)


def _cross_products(bones: int, keypoints: int) -> tuple[Tensor, Tensor]:
    """`third` and `sign` of `KeypointJacobian`."""
    bone, keypoint = torch.arange(bones)[:, None], torch.arange(keypoints)[:, None, None, None]
    row, column = torch.arange(3)[:, None, None], torch.arange(3)
    index = (3 * bone + (3 - row - column) % 3) * keypoints + keypoint
    # Of ω × m, row 0 has ω₁ m₂ − ω₂ m₁.
    sign = torch.tensor([0.0, 1.0, -1.0])[(column - row) % 3]
    return index.flatten(), sign.expand_as(index).flatten()


@dataclass(frozen=True, slots=True)
class Bodies:
    """The bodies of B people.

    Args:
        entries, sigma: (B, E) label entries in the frame's camera space, and their standard deviations.
        keypoints: (B, K, 2) pixels.
    """

    entries: FloatArray
    sigma: FloatArray
    keypoints: FloatArray


def placed(entries: FloatArray, turn: FloatArray, pelvis: FloatArray) -> FloatArray:
    """Label entries (B, E) in the frame's camera space.

    Args:
        entries: (B, E) of which orientation and pelvis are in another camera.
        turn, pelvis: orientations (B, 3, 3) and (B, 3), metres, in the frame's.
    """
    x, y, z = pelvis.T
    position = (np.stack([x / z, y / z, np.log(z)], 1) - TRANSLATION_MEAN) / TRANSLATION_SCALE
    return np.concatenate([_columns(turn), position, entries[:, PELVIS.stop :]], 1, dtype=np.float32)


def entries_in_frame(entries: FloatArray, crops: Sequence[CropBox], camera: Camera) -> FloatArray:
    """Label entries (B, E) of bodies in crops → in the frame's camera space."""
    bodies = orientation(entries, CROSS), pelvis_in_crop(entries, _focal(crops, camera))
    return placed(entries, *to_frame(*bodies, _rotations(crops, camera)))


def entries_in_crops(entries: FloatArray, crops: Sequence[CropBox], camera: Camera) -> FloatArray:
    """The inverse of `entries_in_frame`."""
    across, log_depth = np.split(entries[:, PELVIS] * TRANSLATION_SCALE + TRANSLATION_MEAN, [2], axis=1)
    pelvises = np.exp(log_depth) * np.concatenate([across, np.ones_like(log_depth)], 1)
    turns, places = to_crop(orientation(entries, CROSS), pelvises, _rotations(crops, camera))
    columns = (_columns(turns), entries_of_pelvis(places, _focal(crops, camera)), entries[:, PELVIS.stop :])
    return np.concatenate(columns, 1, dtype=np.float32)


def _rotations(crops: Sequence[CropBox], camera: Camera) -> Float64Array:
    """(B, 3, 3) from the crops' cameras to the frame's."""
    return np.stack([ray_rotation(crop, camera) for crop in crops])


def _focal(crops: Sequence[CropBox], camera: Camera) -> FloatArray:
    """(B, 1) focal lengths in crop widths."""
    return np.array([[camera.focal_px / crop.side] for crop in crops], np.float32)


def _columns(turns: FloatArray) -> FloatArray:
    """(B, 6) the entries of orientations (B, 3, 3)."""
    return np.asarray(turns[..., :2].swapaxes(1, 2).reshape(len(turns), -1) / ROTATION_SCALE, np.float32)


def together(observed: Sequence[ObservedPerson]) -> PerceptionOutput:
    """What perception says of B ≥ 1 people."""
    first = observed[0].output
    return PerceptionOutput.concatenate([person.output for person in observed]) if len(observed) > 1 else first
