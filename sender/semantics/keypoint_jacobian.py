"""Keypoints of the bodies that label entries describe, and their derivatives, in closed form.

What is at or below a bone a carries the keypoint's share

    m_a = Σ_{b at or below a} R_b d_b

away from the head of a, with the arms d of `common.body.model.KeypointKinematics`; below the root, that is the keypoint
from the pelvis.  Turning a about its head by the small vector ω moves the keypoint by ω × m_a.  A bone's rotation
vector v turns it by ω = R_parent J(v) dv, where J is the left Jacobian of SO(3).  Rotation vectors are affine in the
entries, the arms in the shape.

Shapes: B people, E = 80 entries, P = 61 of them of the pose below the root, K = 17 keypoints, S = 52 bones, N = 26 of
them that move a keypoint.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
import torch
from torch import Tensor

from common.body.label_space import LabelSpace
from common.body.model import BodyModel, KeypointKinematics, ancestors, cross_matrix
from common.labels import ROTATION_SCALE, group_slices
from sender.semantics.crop_labels import ENTRIES, PELVIS, pelvis_by_entries, pelvis_in_crop
from sender.semantics.namespace import Array, namespace, selected

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
    """The orientations (B, 3, 3) of the root in entries (B, E).

    Args:
        cross: (3, 9) makes the matrix of × from a vector.
    """
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
