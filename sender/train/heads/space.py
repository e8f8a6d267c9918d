"""The directions of heads that landmarks tell best, and the smooth fields that they become (`common.body.head_shapes`).

    axes, cov S ─ less place, turn, size of the face ─ displacements Y of y ~ N(0, 1) ─┐
    landmarks by y, errors R ─ how well they tell y, G ────────────────────────────────┴─ directions of G Y ─ spline

Shapes: A axes, V vertices of the body, K components of an aligned face, E entries, P places of the left half.
"""

from dataclasses import dataclass

import numpy as np
import torch

from common.arrays import BoolArray, Float64Array
from common.body.head_shapes import both_halves, field_of
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.labels import GROUP_BY_NAME

ENTRIES = GROUP_BY_NAME["head_shape"].size
# Heights at rest between which axes fade out, and below which the head has places.
_FADE_M, _HEAD_M = (-0.59, -0.54), -0.525
# Distances of places: on the front of the face and elsewhere.
_FINE_M, _COARSE_M = 0.011, 0.026
# A vertex of the face counts so many times as one elsewhere, and all count a little: teeth and eyeballs have no skin.
_FACE_COUNTS, _LEAST_AREA_M2 = 4, 3e-7
_STIFFNESS = 1e-5
# So much of the errors is left after some looks.
_ERRORS = 0.5


@dataclass(frozen=True, slots=True)
class HeadSpace:
    """The entries, and what landmarks do with them.

    Args:
        places_m: (P, 3); moves_m (P, E, 3) displacements there by a unit of each entry.
        by_head: (E, K) of entries on components.
        beyond: (A − E, K) of what no entry says, by standard deviations.
    """

    places_m: Float64Array
    moves_m: Float64Array
    by_head: Float64Array
    beyond: Float64Array


class HeadSurface:
    """Where the body's head is, at rest.

    Args:
        body: the mean one.
    """

    def __init__(self, body: BodyModel) -> None:
        self.rest = body.rest_vertices[0].numpy().astype(np.float64)
        template = BodyTemplate.from_model(body)
        self.skin = np.zeros(len(self.rest), np.bool_)
        self.skin[body.skin_faces.numpy()] = True
        self.area = np.zeros(len(self.rest))
        self.area[template.kept] = template.areas
        self.area[~self.skin] = 0
        x, y, z = self.rest.T
        self.face: BoolArray = self.skin & (z < -0.075) & (y < -0.60) & (y > -0.765) & (np.abs(x) < 0.07)
        self.fade = _smooth((_FADE_M[1] - y) / (_FADE_M[1] - _FADE_M[0]))

    @property
    def face_shares(self) -> Float64Array:
        """(V,) share of each vertex in the face's area."""
        return np.asarray(self.area * self.face / (self.area * self.face).sum())

    @property
    def counts(self) -> Float64Array:
        """(V,) area, of which the face's counts more."""
        return np.asarray(self.area * (1 + (_FACE_COUNTS - 1) * self.face))


def space_of(
    surface: HeadSurface, axes: Float64Array, landmarks: Float64Array, spread: Float64Array, errors: Float64Array
) -> HeadSpace:
    """The space of heads.

    Args:
        axes: (A, V, 3) displacements.
        landmarks: (A, K) of axes on components.
        spread: (A, A) covariance of people.
        errors: (K, K) covariance of one look.
    """
    root = np.linalg.cholesky(spread)
    moves = np.tensordot(root.T, in_place(surface, axes * surface.fade[:, None]), 1).reshape(len(axes), -1)
    seen = root.T @ landmarks
    told = seen @ np.linalg.solve(seen.T @ seen + _ERRORS * errors, seen.T)
    shares, vectors = np.linalg.eigh(told)
    telling = vectors * np.sqrt(shares.clip(0)) @ vectors.T
    counts = surface.counts * (surface.fade > 0)
    weighted = moves * np.sqrt(np.repeat(counts / counts.sum(), 3))
    basis = np.linalg.qr(telling @ np.linalg.svd(telling @ weighted, full_matrices=False)[0][:, :ENTRIES])[0]
    basis = basis @ np.linalg.svd(basis.T @ weighted, full_matrices=False)[0]
    fields = basis.T @ moves
    signs = np.sign(fields[np.arange(ENTRIES), np.abs(fields).argmax(axis=1)])
    basis, fields = basis * signs, fields * signs[:, None]
    rest_of_space = np.linalg.svd(basis)[0][:, ENTRIES:]
    places = places_of(surface)
    moved = smoothed(surface, places, fields.reshape(ENTRIES, -1, 3))
    return HeadSpace(places, moved, basis.T @ seen, rest_of_space.T @ seen)


def in_place(surface: HeadSurface, axes: Float64Array) -> Float64Array:
    """Axes (A, V, 3) without what they do to the place, the direction and the size of the face, by least squares."""
    shares, count = surface.face_shares, len(surface.rest)
    centred = surface.rest - shares @ surface.rest
    motions = [np.tile(axis, (count, 1)) for axis in np.eye(3)] + [np.cross(axis, centred) for axis in np.eye(3)]
    basis = np.stack([each.ravel() for each in [*motions, centred]], axis=1)
    weighted = basis * np.repeat(shares, 3)[:, None]
    flat = axes.reshape(len(axes), -1)
    moved = flat @ weighted @ np.linalg.inv(basis.T @ weighted) @ basis.T
    return np.asarray(axes - moved.reshape(axes.shape) * surface.fade[:, None])


def places_of(surface: HeadSurface) -> Float64Array:
    """(P, 3) places of the left half, each the farthest from those before it, close on the front of the face."""
    near = surface.rest[:, 1] < _HEAD_M
    points, skin = surface.rest[near], surface.skin[near]
    front = _smooth((-0.06 - points[:, 2]) / 0.03) * _smooth((-0.60 - points[:, 1]) / 0.01 + 0.5)
    spacing = _FINE_M + (_COARSE_M - _FINE_M) * (1 - front * skin)
    left = points[:, 0] >= -1e-6
    points, spacing = points[left], spacing[left]
    chosen = [0]
    distance = np.linalg.norm(points - points[0], axis=1) / spacing
    while distance.max() >= 1:
        farthest = int(distance.argmax())
        chosen.append(farthest)
        here = np.linalg.norm(points - points[farthest], axis=1) / np.minimum(spacing, spacing[farthest])
        distance = np.minimum(distance, here)
    places = points[chosen]
    places[np.abs(places[:, 0]) <= 1e-3, 0] = 0
    return np.asarray(places)


def smoothed(surface: HeadSurface, places: Float64Array, fields: Float64Array) -> Float64Array:
    """(P, E, 3) what places of the left half do in the smooth fields nearest to symmetric fields (E, V, 3)."""
    near = surface.rest[:, 1] < _HEAD_M
    half = torch.from_numpy(places)
    design = field_of(both_halves(half), torch.from_numpy(surface.rest[near])).numpy()
    counts = surface.counts[near] + _LEAST_AREA_M2
    target = fields[:, near].transpose(1, 0, 2).reshape(near.sum(), -1)
    weighted = design.T * counts
    stiffness = _STIFFNESS * counts.mean() * np.eye(design.shape[1])
    moved = np.linalg.solve(weighted @ design + stiffness, weighted @ target)
    moves = moved[: len(places)].reshape(len(places), len(fields), 3)
    moves[places[:, 0] == 0, :, 0] = 0
    return np.asarray(moves)


def _smooth(t: Float64Array) -> Float64Array:
    t = t.clip(0, 1)
    return np.asarray(t * t * (3 - 2 * t))
