"""Where the features of a face are on the template: eyes, lashes, brows, lips, nostrils and hollows.

They are defined by the geometry of the mean body at rest: by its loops of vertices around eyes and mouth, by distances
from these and from the tip of the nose, and by how hollow the skin is.  The course of the brows is the median of eleven
eyebrows of MakeHuman (CC0).  Nothing is taken from a picture of a person.

Shapes: N places of the skin, V' vertices of the template.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from common.arrays import FloatArray, Int32Array, IntArray
from common.body.anatomy import LID_LOOPS, REGION_INDEX
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.body.triangles import neighbour_mean
from receiver.body.skinning import TEETH_LOOPS, Teeth, mouth_loops

_PUPIL_M, _IRIS_M, _LIMBUS_M, _EDGE_M = 0.0017, 0.0057, 0.0011, 0.0005
# How far the shadow of the upper lid reaches over the eye.
_LID_SHADOW_M = 0.0022
_NEAR_LID_M = 0.006
_LASH_M, _LOWER_LASH_M = 0.0014, 0.0009
# The course of a brow from the nose outwards, relative to the centre of the iris: sideways, height, half thickness.
_BROW_M = 1e-3 * np.array(
    [
        [-19.0, 8.8, 2.2],
        [-13.7, 9.9, 3.1],
        [-9.7, 11.1, 3.2],
        [-5.7, 12.1, 3.1],
        [-1.7, 12.8, 2.9],
        [2.3, 13.8, 2.6],
        [6.3, 14.5, 2.3],
        [10.3, 15.0, 2.0],
        [14.3, 14.6, 1.7],
        [18.3, 13.0, 1.4],
        [22.3, 11.3, 1.1],
        [26.3, 9.6, 0.7],
    ]
)
_BROW_SOFTNESS = 0.35
# Opacity of the lips by their loops of vertices from the mouth's line outwards.
_LIPS = (1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.3)
# Opacity of the throat by the first loops behind the lips, and of the teeth by `TEETH_LOOPS`.
_THROAT, _TEETH = (0.0, 0.4), (0.6, 1.0, 0.9, 0.0)
# The nostril from the tip of the nose: to the side, down and back; and its radius.
_NOSTRIL_M, _NOSTRIL_RADIUS_M = (0.0086, 0.0040, 0.0125), 0.0034
# Cheeks from the centre of the iris; sizes of the blush of cheeks and nose.
_CHEEK_M, _CHEEK_RADIUS_M, _NOSE_RADIUS_M = (0.012, 0.036), 0.017, 0.012
# How far the skin, smoothed by so many steps, lies in front of where a hollow begins, and of where it is deep.
_SMOOTHING_STEPS, _HOLLOW_M = 16, (0.001, 0.004)


@dataclass(frozen=True, slots=True, eq=False)
class FaceFeatures:
    """Opacities of features at N places, 0…1; a later one lies over an earlier one.

    Args:
        blush: cheeks and nose.
        hollow: ears, corners of the eyes, folds beside the nose.
        nostrils: of the nose.
        lips: their red.
        mouth: the line between the lips, and what is behind it.
        throat: what is behind the lips.
        teeth: both rows.
        brows: the eyebrows.
        lashes: the edges of the lids with their lashes.
        eyes: the whole visible eyeballs.
        iris: their irises.
        limbus: the dark edges of the irises.
        pupils: the pupils.
        lid_shadow: on the eyeballs below the upper lids.
    """

    blush: FloatArray
    hollow: FloatArray
    nostrils: FloatArray
    lips: FloatArray
    mouth: FloatArray
    throat: FloatArray
    teeth: FloatArray
    brows: FloatArray
    lashes: FloatArray
    eyes: FloatArray
    iris: FloatArray
    limbus: FloatArray
    pupils: FloatArray
    lid_shadow: FloatArray


class FaceGeometry:
    """Landmarks of the template's face, from which features are computed."""

    def __init__(self, body: BodyModel, template: BodyTemplate) -> None:
        loops: Int32Array = template.place[body.eyes.cpu().numpy()]
        rest = template.rest
        self._template, self._eye_loops = template, loops
        self.eye_vertices = np.zeros(len(template), np.bool_)
        self.eye_vertices[loops[:, LID_LOOPS:].ravel()] = True
        # The left one.
        self._iris: FloatArray = rest[loops[0, -1]].mean(axis=0)
        lids = rest[loops[0, 0]]
        upper = lids[:, 1] < lids[[lids[:, 0].argmin(), lids[:, 0].argmax()], 1].mean()
        self._upper_lid, self._lower_lid = (cKDTree(_densified(lids[chosen])) for chosen in (upper, ~upper))
        middle = np.flatnonzero(np.abs(rest[:, 0]) < 0.01)
        self._nose: FloatArray = rest[middle[rest[middle, 2].argmin()]]
        self._mouth, self._lips = self._mouth_and_lips()
        self._throat, self._teeth = self._throat_and_teeth(mouth_loops(body, template))
        self._hollow = self._hollows()

    @cached_property
    def at_vertices(self) -> FaceFeatures:
        """Of the template's vertices."""
        every = np.repeat(np.arange(len(self._template))[:, None], 3, axis=1)
        return self.features(every, np.eye(1, 3, dtype=np.float32).repeat(len(every), axis=0))

    @cached_property
    def landmarks(self) -> tuple[IntArray, ...]:
        """Vertices around the left eye and brow, the right ones, the mouth, and at the tip of the nose."""
        features = self.at_vertices
        around_eyes = (features.brows > 0.5) | (features.iris > 0.5)
        side = self._template.rest[:, 0]
        nose = np.linalg.norm(self._template.rest - self._nose, axis=1) < _NOSE_RADIUS_M
        parts = (around_eyes & (side > 0), around_eyes & (side < 0), features.lips > 0.5, nose)
        return tuple(np.flatnonzero(part) for part in parts)

    def features(self, corners: Int32Array | IntArray, barycentric: FloatArray) -> FaceFeatures:
        """Of N places on triangles with the corners (N, 3) of the template and barycentric coordinates (N, 3)."""
        positions = np.einsum("nc,ncd->nd", barycentric, self._template.rest[corners])
        # Both sides are alike: everything is computed on the left one.
        left = np.column_stack([np.abs(positions[:, 0]), positions[:, 1:]])
        eyes = self.eye_vertices[corners].all(axis=1)
        face = self._template.region[corners[:, 0]] == REGION_INDEX["face"]
        skin = face & ~eyes & self._template.outside[corners].any(axis=1)

        def interpolated(values: FloatArray) -> FloatArray:
            return np.asarray((values[corners] * barycentric).sum(axis=1), np.float32)

        radius = np.linalg.norm(left[:, :2] - self._iris[:2], axis=1)
        upper, lower = (
            np.asarray(lid.query(left, distance_upper_bound=_NEAR_LID_M)[0], np.float32)
            for lid in (self._upper_lid, self._lower_lid)
        )
        lashes = np.maximum(_bell(upper / _LASH_M), 0.5 * _bell(lower / _LOWER_LASH_M))
        iris = eyes * _inside(radius, _IRIS_M)
        opacities = (
            skin * self._blush(left),
            (skin | self._template.region[corners[:, 0]] == REGION_INDEX["scalp"]) * interpolated(self._hollow),
            skin * _bell(np.linalg.norm(left - self._nose - _NOSTRIL_M, axis=1) / _NOSTRIL_RADIUS_M),
            interpolated(self._lips),
            interpolated(self._mouth),
            interpolated(self._throat),
            interpolated(self._teeth),
            skin * self._brows(left),
            (face & ~eyes) * lashes,
            eyes,
            iris,
            iris * (1 - _inside(radius, _IRIS_M - _LIMBUS_M)),
            eyes * _inside(radius, _PUPIL_M),
            eyes * _bell(upper / _LID_SHADOW_M),
        )
        return FaceFeatures(*(np.asarray(opacity, np.float32) for opacity in opacities))

    def _blush(self, left: FloatArray) -> FloatArray:
        cheek = np.linalg.norm(left[:, :2] - self._iris[:2] - _CHEEK_M, axis=1)
        nose = np.linalg.norm(left - self._nose, axis=1)
        return np.maximum(_bell(cheek / _CHEEK_RADIUS_M), _bell(nose / _NOSE_RADIUS_M))

    def _brows(self, left: FloatArray) -> FloatArray:
        sideways, height = left[:, 0] - self._iris[0], self._iris[1] - left[:, 1]
        course, thickness = (np.interp(sideways, _BROW_M[:, 0], _BROW_M[:, column]) for column in (1, 2))
        across = np.abs(height - course) / thickness
        along = _inside(np.abs(sideways - _BROW_M[[0, -1], 0].mean()), np.ptp(_BROW_M[:, 0]) / 2, 0.002)
        return np.asarray(along * _inside(across, 1.0, _BROW_SOFTNESS), np.float32)

    def _mouth_and_lips(self) -> tuple[FloatArray, FloatArray]:
        """(V',) opacities of the mouth's inside with the line between the lips, and of the lips."""
        template = self._template
        inside = ~template.outside
        inside[self._eye_loops.ravel()] = False
        mouth, lips = inside.astype(np.float32), np.zeros(len(template), np.float32)
        reached = inside.copy()
        for number, opacity in enumerate(_LIPS):
            loop = (template.adjacency @ reached > 0) & ~reached
            lips[loop] = opacity
            mouth[loop & (number == 0)] = 0.8
            reached |= loop
        return mouth, lips

    def _throat_and_teeth(self, loops: list[IntArray]) -> tuple[FloatArray, FloatArray]:
        """(V',) opacities of what is behind the lips, and of the teeth."""
        throat, teeth = np.zeros((2, len(self._template)), np.float32)
        for loop, opacity in zip(loops, (*_THROAT, *[1.0] * len(loops)), strict=False):
            throat[loop] = opacity
        row = Teeth.from_loops(self._template, loops)
        of_loop = np.repeat(_TEETH, [len(loops[number]) for number in TEETH_LOOPS])
        teeth[row.vertices] = row.shares * of_loop
        return throat, teeth

    def _hollows(self) -> FloatArray:
        """(V',) how hollow the head is."""
        template = self._template
        mean = neighbour_mean(sparse.csr_matrix(template.adjacency, dtype=np.float64))
        smooth = template.rest.astype(np.float64)
        for _ in range(_SMOOTHING_STEPS):
            smooth = (smooth + mean @ smooth) / 2
        depth = ((smooth - template.rest) * template.vertex_normals(template.rest)).sum(axis=1)
        above_mouth = template.outside & (template.rest[:, 1] < self._nose[1] + 0.02)
        return np.asarray(above_mouth * np.clip((depth - _HOLLOW_M[0]) / np.diff(_HOLLOW_M), 0, 1), np.float32)


def _densified(points: FloatArray) -> FloatArray:
    """Points on the polyline through points (n, 3), in the order of x."""
    ordered = points[np.argsort(points[:, 0])]
    shares = np.linspace(0, 1, 8, endpoint=False)[:, None, None]
    return np.asarray((ordered[:-1] * (1 - shares) + ordered[1:] * shares).reshape(-1, 3), np.float32)


def _bell(ratio: FloatArray) -> FloatArray:
    """1 at 0, 1/e at 1."""
    return np.asarray(np.exp(-np.square(ratio)), np.float32)


def _inside(distance: FloatArray, radius: float, edge: float = _EDGE_M) -> FloatArray:
    """1 within a radius, 0 without, with a soft edge."""
    return np.asarray(np.clip(0.5 + (radius - distance) / (2 * edge), 0, 1), np.float32)
