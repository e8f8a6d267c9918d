"""Distances between reconstructed and true people, as the literature defines them; metres in, millimetres out."""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import trimesh
from scipy.spatial import cKDTree
from skimage.metrics import structural_similarity

from common.arrays import BoolArray, ByteArray, Float64Array, IntArray
from common.body.triangles import triangle_normals

HIPS = (11, 12)
"""COCO's hips: errors are measured relative to their midpoint."""
ANKLES = (15, 16)
# An ankle stands that moves by less in a frame.
_STANDS_M = 0.004

# Triangles with the nearest centroids to a point. The nearest triangle is among them except in meshes of slivers.
_CANDIDATES = 8


def centred(keypoints: npt.ArrayLike, points: npt.ArrayLike | None = None) -> Float64Array:
    """`points` (default: the keypoints) relative to the midpoint of the hips of `keypoints` (17, 3)."""
    root = np.asarray(keypoints, dtype=np.float64)[list(HIPS)].mean(0)
    moved: Float64Array = np.asarray(keypoints if points is None else points, dtype=np.float64) - root
    return moved


def mean_distance_mm(found: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """MPJPE or PVE: mean distance between corresponding points (N, 3) that share a root."""
    difference = np.asarray(found, dtype=np.float64) - np.asarray(truth, dtype=np.float64)
    return 1000 * float(np.linalg.norm(difference, axis=-1).mean())


def second_difference(joints: Float64Array) -> Float64Array:
    """(T − 2, …) of places (T, …) in successive frames: how their motion changes in a frame."""
    return np.asarray(joints[2:] - 2 * joints[1:-1] + joints[:-2])


def in_the_world(found: Float64Array, truth: Float64Array) -> dict[str, float]:
    """Figures of where somebody is, not relative to the hips; NaN where nothing is known of it.

    `foot_slide_mm` is the mean movement in a frame of ankles that truly stand; `path_mm`, how far the hips are off
    their path, after the best scale of the clip about the camera.

    Args:
        found, truth: (T, 17, 3) in the camera's axes, y down, metres; NaN where not known.
    """
    hips, true_hips = (joints[:, HIPS].mean(axis=1) for joints in (found, truth))
    known = np.isfinite(hips).all(axis=1) & np.isfinite(true_hips).all(axis=1)
    scale = (true_hips[known] * hips[known]).sum() / max((hips[known] ** 2).sum(), 1e-9)
    ankles, true_ankles = found[:, ANKLES], truth[:, ANKLES]
    stands = np.linalg.norm(np.diff(true_ankles, axis=0), axis=-1) < _STANDS_M
    slide = np.linalg.norm(np.diff(ankles, axis=0), axis=-1)[stands]
    return {"foot_slide_mm": _mean_mm(slide), "path_mm": _mean_mm(np.linalg.norm(scale * hips - true_hips, axis=1))}


def _mean_mm(lengths: Float64Array) -> float:
    known = lengths[np.isfinite(lengths)]
    return 1000 * float(known.mean()) if len(known) else float("nan")


def procrustes(found: npt.ArrayLike, truth: npt.ArrayLike, points: npt.ArrayLike | None = None) -> Float64Array:
    """`points` (M, 3), default `found`, after the similarity transform that aligns `found` (N, 3) best with `truth`
    (N, 3) (Umeyama 1991).
    """
    source, target = np.asarray(found, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    source_mean, target_mean = source.mean(0), target.mean(0)
    centred_source, centred_target = source - source_mean, target - target_mean
    left, singular, right = np.linalg.svd(centred_target.T @ centred_source)
    sign = np.ones(3)
    sign[-1] = np.sign(np.linalg.det(left @ right))
    rotation = (left * sign) @ right
    scale = (singular * sign).sum() / (centred_source**2).sum()
    moved = centred_source if points is None else np.asarray(points, dtype=np.float64) - source_mean
    aligned: Float64Array = scale * moved @ rotation.T + target_mean
    return aligned


class Surface:
    """A triangle mesh that distances are measured to.

    Args:
        vertices: (V, 3) metres.
        faces: (F, 3).
    """

    def __init__(self, vertices: npt.ArrayLike, faces: npt.ArrayLike) -> None:
        self.corners: Float64Array = np.asarray(vertices, dtype=np.float64)[np.asarray(faces)]
        flat = self.corners.reshape(-1, 3)
        # Their length is twice the area; degenerate triangles keep a zero normal.
        corners = np.arange(len(flat), dtype=np.int32).reshape(-1, 3)
        scaled = np.asarray(triangle_normals(flat.astype(np.float32), corners), dtype=np.float64)
        length = np.linalg.norm(scaled, axis=1)
        self.areas: Float64Array = length / 2
        self.normals: Float64Array = scaled / np.maximum(length, 1e-20)[:, None]

    @cached_property
    def _centroids(self) -> cKDTree:
        return cKDTree(self.corners.mean(1))

    def sample(self, count: int, seed: int) -> tuple[Float64Array, Float64Array]:
        """`count` points (N, 3) drawn uniformly by area, and the unit normals (N, 3) there."""
        rng = np.random.default_rng(seed)
        faces = rng.choice(len(self.corners), count, p=self.areas / self.areas.sum())
        u, v = rng.random((2, count, 1))
        u, v = np.where(u + v > 1, (1 - u, 1 - v), (u, v))
        a, b, c = self.corners[faces].transpose(1, 0, 2)
        return a + u * (b - a) + v * (c - a), self.normals[faces]

    def nearest(self, points: Float64Array) -> tuple[Float64Array, IntArray]:
        """Distances (N,) in metres from points (N, 3) to the surface, and indices (N,) of the nearest triangles."""
        count = min(_CANDIDATES, len(self.corners))
        _, candidates = self._centroids.query(points, count)
        candidates = np.asarray(candidates, dtype=np.int64).reshape(len(points), count)
        squared = squared_distance(np.repeat(points, count, 0), self.corners[candidates.ravel()]).reshape(-1, count)
        best = squared.argmin(1)
        rows = np.arange(len(points))
        return np.sqrt(squared[rows, best]), candidates[rows, best]


def squared_distance(points: Float64Array, triangles: Float64Array) -> Float64Array:
    """(N,) squared distance from point i of (N, 3) to triangle i of (N, 3, 3)."""
    a, b, c = triangles.transpose(1, 0, 2)
    along_b, along_c, offset = b - a, c - a, points - a
    bb, bc, cc = _dot(along_b, along_b), _dot(along_b, along_c), _dot(along_c, along_c)
    pb, pc = _dot(offset, along_b), _dot(offset, along_c)
    gram = np.maximum(bb * cc - bc**2, 1e-30)
    v, w = (cc * pb - bc * pc) / gram, (bb * pc - bc * pb) / gram
    above = offset - v[:, None] * along_b - w[:, None] * along_c
    edges = np.minimum(
        np.minimum(_squared_to_segment(points, a, b), _squared_to_segment(points, b, c)),
        _squared_to_segment(points, c, a),
    )
    return np.where((v >= 0) & (w >= 0) & (v + w <= 1), np.minimum(_dot(above, above), edges), edges)


def _squared_to_segment(points: Float64Array, start: Float64Array, end: Float64Array) -> Float64Array:
    along, offset = end - start, points - start
    share = np.clip(_dot(offset, along) / np.maximum(_dot(along, along), 1e-30), 0, 1)
    left = offset - share[:, None] * along
    return _dot(left, left)


def _dot(a: Float64Array, b: Float64Array) -> Float64Array:
    product: Float64Array = np.einsum("ij,ij->i", a, b)
    return product


def surface_distances(found: Surface, truth: Surface, samples: int = 3000, seed: int = 0) -> dict[str, float]:
    """Distances between two surfaces, from points sampled uniformly on each to the triangles of the other.

    Returns:
        `chamfer_mm`, the mean of both directions; `p2s_mm`, from the reconstruction to the truth; `normal_consistency`,
        |cos| between the normals of a point and its nearest triangle, mean of both directions, 0…1.
    """
    found_points, found_normals = found.sample(samples, seed)
    truth_points, truth_normals = truth.sample(samples, seed)
    to_truth, truth_face = truth.nearest(found_points)
    to_found, found_face = found.nearest(truth_points)
    agreement = np.abs(_dot(found_normals, truth.normals[truth_face])).mean()
    agreement_back = np.abs(_dot(truth_normals, found.normals[found_face])).mean()
    return {
        "chamfer_mm": 500 * float(to_truth.mean() + to_found.mean()),
        "p2s_mm": 1000 * float(to_truth.mean()),
        "normal_consistency": float(agreement + agreement_back) / 2,
    }


def is_watertight_piece(vertices: npt.ArrayLike, faces: npt.ArrayLike) -> bool:
    """Whether trimesh finds the mesh closed, consistently wound and a single connected component."""
    mesh = trimesh.Trimesh(np.asarray(vertices), np.asarray(faces))
    return bool(mesh.is_watertight and mesh.is_winding_consistent and mesh.body_count == 1)


def intersection_over_union(found: BoolArray, truth: BoolArray) -> float:
    """IoU of two masks; 1 when both are empty."""
    union = (found | truth).sum()
    return float((found & truth).sum() / union) if union else 1.0


def view_mse(found: ByteArray, truth: ByteArray) -> float:
    """Mean squared error (29) of two rendered views (H, W, 3) with values scaled to 0…1."""
    difference = (found.astype(np.float64) - truth.astype(np.float64)) / 255
    return float((difference**2).mean())


def view_ssim(found: ByteArray, truth: ByteArray) -> float:
    """Structural similarity (30) of two rendered views (H, W, 3)."""
    return float(structural_similarity(found, truth, channel_axis=-1))


def percentile(values: npt.ArrayLike, share: float) -> float:
    """The percentile `share` (0…100) of the values; NaN without values."""
    array = np.asarray(values, dtype=np.float64)
    return float(np.percentile(array, share)) if array.size else float("nan")


def mean_by_key(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each key over the rows that have a finite value for it."""
    keys = dict.fromkeys(key for row in rows for key in row)
    columns = {key: np.array([row[key] for row in rows if key in row], dtype=np.float64) for key in keys}
    return {key: float(np.nanmean(column)) for key, column in columns.items() if np.isfinite(column).any()}


def standard_error(values: Float64Array) -> float:
    """Of the mean of independent values; NaN for fewer than two."""
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else float("nan")
