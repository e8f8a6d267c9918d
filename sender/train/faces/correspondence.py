"""Which places on the body's head the face network marks.

Landmarks of rendered heads are compared with the projections of the vertices; a landmark belongs to the vertex with the
smallest mean distance, where large distances count as 6 mm, and then to the place in a triangle of this vertex with the
smallest robust distance.  Actions tell the upper lip from the lower one.
"""

from dataclasses import dataclass

import numpy as np

from common.arrays import FloatArray, IntArray
from sender.face.landmarks import POINTS
from sender.train.faces.heads import Heads
from sender.train.faces.samples import HeadSamples

_HEADS, _MOST_TURNED = 500, 0.45
_FAR_M, _ROBUST_M, _ROUNDS = 0.006, 0.003, 4
_LOWEST_M = -0.57


@dataclass(frozen=True, slots=True)
class Correspondence:
    """Places on the head.

    Args:
        vertices: (468, 3) corners of the triangle of each landmark; shares (468, 3) of them.
        errors_m: (N, 468) distances from the landmarks of the heads that it was found on.
    """

    vertices: IntArray
    shares: FloatArray
    errors_m: FloatArray

    def on(self, values: FloatArray) -> FloatArray:
        """(…, 468, C) what values (…, V, C) of the vertices are there."""
        return np.asarray(np.einsum("...pcd,pc->...pd", values[..., self.vertices, :], self.shares), np.float32)


def find(heads: Heads, samples: HeadSamples) -> Correspondence:
    """The places that the landmarks of samples belong to."""
    chosen = np.flatnonzero(samples.rotation[:, 2, 2] > np.cos(_MOST_TURNED))[:_HEADS]
    candidates = np.flatnonzero(heads.on_face & (heads.rest[:, 1] < _LOWEST_M))
    seen, depth_m = _projected(heads, samples, chosen, candidates)
    found = samples.points[chosen, :, :2]
    place = np.full(len(heads.rest), -1)
    place[candidates] = np.arange(len(candidates))
    triangles = place[heads.faces_of_face]
    triangles = triangles[(triangles >= 0).all(axis=1)]
    vertices, shares, errors = np.zeros((POINTS, 3), np.int64), np.zeros((POINTS, 3)), np.zeros((len(chosen), POINTS))
    for point in range(POINTS):
        distance = np.linalg.norm(seen - found[:, point, None], axis=2) * depth_m[:, None]
        nearest = np.minimum(distance, _FAR_M).mean(axis=0).argmin()
        around = triangles[(triangles == nearest).any(axis=1)]
        fits = [_place_in(seen[:, corners], found[:, point], depth_m) for corners in around]
        best = min(range(len(fits)), key=lambda row: float(np.minimum(fits[row][1], _FAR_M).mean()))
        vertices[point] = candidates[around[best]]
        shares[point], errors[:, point] = fits[best]
    return Correspondence(vertices, shares.astype(np.float32), errors.astype(np.float32))


def _projected(
    heads: Heads, samples: HeadSamples, chosen: IntArray, candidates: IntArray
) -> tuple[FloatArray, FloatArray]:
    """(N, C, 2) positions of vertices in pictures of focal length 1, and mean depths (N,)."""
    seen, depth = np.empty((len(chosen), len(candidates), 2), np.float32), np.empty(len(chosen), np.float32)
    for row, sample in enumerate(chosen):
        rest = heads.vertices(samples.shape[sample], samples.activations[sample])[candidates]
        posed = rest @ samples.rotation[sample].T + samples.translation[sample]
        seen[row], depth[row] = posed[:, :2] / posed[:, 2:], posed[:, 2].mean()
    return seen, depth


def _place_in(corners: FloatArray, found: FloatArray, depth_m: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Shares (3,) of a triangle's corners (N, 3, 2) at the place nearest to positions (N, 2), and distances (N,)."""
    edges, target = np.swapaxes(corners[:, 1:] - corners[:, :1], 1, 2), found - corners[:, 0]
    weight = np.ones(len(target))
    for _ in range(_ROUNDS):
        weighted, aim = edges * weight[:, None, None], target * weight[:, None]
        share = np.linalg.lstsq(weighted.reshape(-1, 2), aim.ravel(), rcond=None)[0].clip(0, 1)
        share = share / max(1.0, float(share.sum()))
        distance = np.linalg.norm(target - edges @ share, axis=1) * depth_m
        weight = 1 / np.sqrt(1 + np.square(distance / _ROBUST_M))
    return np.array([1 - share.sum(), *share]), distance


def movable(heads: Heads, correspondence: Correspondence) -> FloatArray:
    """(468,) the farthest that one action moves each place, metres."""
    moved = np.linalg.norm(correspondence.on(heads.actions), axis=2)
    return np.asarray(moved.max(axis=0), np.float32)
