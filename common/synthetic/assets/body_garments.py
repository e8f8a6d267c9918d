"""Garments made from the body itself: a close-fitting suit and a skirt, to be loosened and cut to any length.

Shapes: V vertices of the body, N of a garment, S = 52 bones; 11 rows of the shape space.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from common.arrays import FloatArray, IntArray
from common.body.anatomy import REGION_INDEX
from common.body.connectivity import neighbour_mean, vertex_adjacency
from common.body.triangles import VertexNormals
from common.synthetic.assets.body_canvas import OUTSIDE, Canvas
from common.synthetic.assets.garment import Garment
from common.synthetic.assets.garment_files import Kind

_THICKNESS_M = 0.005
_SMOOTHINGS = 12
_BARE = ("face", "scalp", "hand.L", "hand.R", "foot.L", "foot.R")
SKIRT_NAME = "made_skirt"
SKIRT_ROWS, SKIRT_COLUMNS = 40, 72
"""The grid of the skirt: from the waist down, and around from the back by the left."""
_SKIRT_TOP = 0.32
_SKIRT_GAP_M = 0.008
_SKIRT_NEIGHBOURS = 24
_LEGS = ("hips", "chest", "thigh.L", "thigh.R", "shin.L", "shin.R")


@dataclass(frozen=True, eq=False)
class SkinBasis:
    """The body over the shape space.

    Args:
        rest: (11, V, 3) mean vertices, then displacements per unit of each shape coefficient.
        weights: (V, S) skinning weights.
    """

    rest: FloatArray
    weights: FloatArray
    canvas: Canvas


def made_suit(skin: SkinBasis) -> Garment:
    """A thin suit from neck to wrists and ankles, which smooths over navel and muscles."""
    canvas = skin.canvas
    bare = np.isin(canvas.region, [REGION_INDEX[name] for name in _BARE])
    faces = canvas.faces[~bare[canvas.faces].all(1)]
    faces = faces[(canvas.limb[faces, 2] < 1.12).all(1)]
    used, compact = np.unique(faces, return_inverse=True)
    faces = compact.reshape(-1, 3)
    surface = inflated(canvas.rest[used], faces, _THICKNESS_M, _THICKNESS_M, _SMOOTHINGS)
    return fastened(skin, "made_suit", Kind.SUIT, used, surface, faces, _interior(used, faces, canvas.faces))


def made_skirt(skin: SkinBasis) -> Garment:
    """A skirt from the waist to the ankles: the convex outline of the body, which does not narrow below the hips."""
    canvas = skin.canvas
    legs = np.flatnonzero(np.isin(canvas.region, [REGION_INDEX[name] for name in _LEGS]) & (canvas.limb[:, 2] < 0.6))
    body = canvas.rest[legs]
    top = float(np.interp(_SKIRT_TOP, *_sorted(canvas.limb[legs, 2], body[:, 1])))
    bottom = float(body[canvas.limb[legs, 1] > 1.9, 1].min())
    heights = np.linspace(top, bottom, SKIRT_ROWS)
    angles = np.linspace(0, 2 * np.pi, SKIRT_COLUMNS, endpoint=False)
    outward = np.stack([np.sin(angles), np.cos(angles)], 1)
    centre = np.array([0.0, np.median(body[:, 2])])
    radius = np.zeros((SKIRT_ROWS, SKIRT_COLUMNS))
    for row, height in enumerate(heights):
        near = body[np.abs(body[:, 1] - height) < 0.03][:, [0, 2]] - centre
        # The distance along each direction at which the supporting lines of the outline meet it.
        support = (near @ outward.T).max(0)
        between = outward @ outward.T
        radius[row] = np.where(between > 0.2, support / np.maximum(between, 0.2), np.inf).min(1) + _SKIRT_GAP_M
    radius = np.maximum.accumulate(radius, 0)
    plane = centre + radius[..., None] * outward
    rest = np.stack([plane[..., 0], np.broadcast_to(heights[:, None], radius.shape), plane[..., 1]], -1)
    rest = rest.reshape(-1, 3).astype(np.float32)
    return _skirt_garment(skin, legs, rest)


def _skirt_garment(skin: SkinBasis, legs: IntArray, rest: FloatArray) -> Garment:
    """Attaches the vertices of a skirt (N, 3) to the nearest skin, so that its middle follows both legs."""
    canvas = skin.canvas
    distance, nearest = cKDTree(canvas.rest[legs] * [1, 1.5, 1]).query(rest * [1, 1.5, 1], _SKIRT_NEIGHBOURS)
    nearest = legs[nearest]
    shares = np.exp(-((distance / (distance[:, :1] + 0.03)) ** 2))
    shares = (shares / shares.sum(1, keepdims=True)).astype(np.float32)
    attachment = np.einsum("nk,rnkd->rnd", shares, skin.rest[:, nearest]).astype(np.float32)
    weights = np.einsum("nk,nks->ns", shares, skin.weights[nearest])
    limb = np.einsum("nk,nkc->nc", shares, canvas.limb[nearest]).astype(np.float32)
    # Measured by height alone, so that hems are level.
    leg = canvas.limb[legs, 1] > OUTSIDE
    height_of_leg = _sorted(canvas.rest[legs][leg, 1], canvas.limb[legs][leg, 1])
    limb[:, 0], limb[:, 1] = OUTSIDE, np.interp(rest[:, 1], *height_of_leg)
    limb[limb[:, 2] > 0.05, 1] = OUTSIDE
    return Garment(
        name=SKIRT_NAME,
        kind=Kind.SUIT,
        attachment=attachment,
        offset=rest - attachment[0],
        scale=_metres(),
        weights=_smoothed_rows(weights).astype(np.float32),
        faces=grid_faces(SKIRT_ROWS, SKIRT_COLUMNS, closed=True),
        rest=rest,
        limb=_off_head(limb),
        region=canvas.region[nearest[:, 0]],
        covered=np.zeros(0, np.int64),
    )


def _smoothed_rows(weights: FloatArray) -> FloatArray:
    """Skinning weights (N, S) of the skirt's grid, blended around it."""
    grid = np.asarray(weights, np.float64).reshape(SKIRT_ROWS, SKIRT_COLUMNS, -1)
    for _ in range(6):
        grid = (np.roll(grid, 1, 1) + 2 * grid + np.roll(grid, -1, 1)) / 4
    return np.asarray(grid.reshape(len(weights), -1))


def grid_faces(rows: int, columns: int, *, closed: bool) -> IntArray:
    """Triangles of a grid of vertices, row by row; closed: the last column is beside the first."""
    row, column = (index.ravel() for index in np.mgrid[: rows - 1, : columns if closed else columns - 1])
    here, right = row * columns + column, row * columns + (column + 1) % columns
    below, across = here + columns, right + columns
    return np.concatenate([np.stack([here, right, below], 1), np.stack([right, across, below], 1)])


def inflated(rest: FloatArray, faces: IntArray, height_m: float, least_m: float, smoothings: int) -> FloatArray:
    """A smooth surface (N, 3) above the skin (N, 3): lifted by a height, smoothed, and nowhere lower than the least."""
    mean = neighbour_mean(vertex_adjacency(faces, len(rest)))
    normals = VertexNormals(faces, len(rest))(rest)
    surface = rest + height_m * normals
    for _ in range(smoothings):
        surface = mean @ surface
        lift = np.einsum("nd,nd->n", surface - rest, normals)
        surface = surface + normals * np.maximum(least_m - lift, 0)[:, None]
    return np.asarray(surface, np.float32)


def fastened(
    skin: SkinBasis,
    name: str,
    kind: Kind,
    used: IntArray,
    surface: FloatArray,
    faces: IntArray,
    covered: IntArray | None = None,
) -> Garment:
    """The garment with a surface (N, 3), whose vertices follow those of the body that `used` (N,) names."""
    limb = skin.canvas.limb[used].astype(np.float32)
    limb[:, 3] = float(kind is Kind.HAT)
    return Garment(
        name=name,
        kind=kind,
        attachment=skin.rest[:, used].astype(np.float32),
        offset=surface - skin.canvas.rest[used],
        scale=_metres(),
        weights=skin.weights[used].astype(np.float32),
        faces=faces,
        rest=surface,
        limb=limb,
        region=skin.canvas.region[used],
        covered=np.zeros(0, np.int64) if covered is None else covered,
    )


def _interior(used: IntArray, faces: IntArray, all_faces: IntArray) -> IntArray:
    """Body vertices (C,) of which all triangles are beneath the garment."""
    total, beneath = np.bincount(all_faces.ravel(), minlength=used.max() + 1), np.bincount(faces.ravel())
    return np.asarray(used[total[used] == beneath])


def _metres() -> FloatArray:
    """(11, 3) scale of offsets in metres, the same for all shapes."""
    scale = np.zeros((11, 3), np.float32)
    scale[0] = 1.0
    return scale


def _off_head(limb: FloatArray) -> FloatArray:
    limb = limb.astype(np.float32)
    limb[:, 3] = 0.0
    return limb


def _sorted(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Points of a curve in the order of x, as `np.interp` needs them."""
    order = np.argsort(x)
    return x[order], y[order]
