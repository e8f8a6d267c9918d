"""Which parts of a person's colours are skin, hair, top, bottom and shoes.

The body says where each part is for certain: hands are skin, the trunk has the top.  From these seeds the parts grow
along the surface, and the cheaper the more a place has the colours of the part's seeds (Bai and Sapiro 2009, "Geodesic
Matting: A Framework for Fast Interactive Image and Video Segmentation and Matting").  Every place belongs to the part
that reaches it at the lowest cost.  Where colours tell nothing, that is the nearest one.

Shapes: N places of the surface, E pairs of neighbours, R regions, P parts, V' vertices of the template.
"""

import functools
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree
from skimage.color import rgb2lab

from common.arrays import BoolArray, ByteArray, Float64Array, FloatArray, IntArray
from common.body.anatomy import REGIONS, SKELETON
from common.body.template import BodyTemplate
from common.texture.atlas import AtlasLayout

PARTS: tuple[str, ...] = ("skin", "hair", "top", "bottom", "shoes")
"""The skin comes first."""

_REGIONS_OF_PART = {
    "skin": ("face", "chest", "hips", "upper_arm", "forearm", "hand", "thigh", "shin", "foot"),
    "hair": ("face", "scalp", "chest"),
    "top": ("chest", "upper_arm", "forearm", "hips", "thigh"),
    "bottom": ("chest", "hips", "thigh", "shin"),
    "shoes": ("foot", "shin"),
}
"""Where a part can be, without the side."""

_SEED_BONES = {
    "skin": ("wrist", "finger"),
    "top": ("spine01", "spine02", "spine03"),
    "bottom": ("upperleg",),
    "shoes": ("foot",),
}
_SEED_WEIGHT = 0.9
"""Share of the skinning weights that these bones have at a seed."""
_SEED_REGIONS = {"skin": "face", "hair": "scalp"}
# A seed of a region is this far from places of other regions.
_SEED_DEPTH_M = 0.02

_NEIGHBOURS = 6
# Tones that clothes and skin may have, and the noise about them in CIELAB; lightness counts less: light changes it.
_TONES, _SKIN_TONES, _NOISE = 3, 2, 12.0
# A tone of fewer seeds is an error of the texture.
_RARE_SHARE = 0.05
_LIGHTNESS_WEIGHT = 0.5
_MOST_SEEDS = 4000
_ITERATIONS = (cv2.TERM_CRITERIA_MAX_ITER, 20, 0.0)
# Cost of a metre where the colour is certainly the part's; it is 1 more where it certainly is not.
_BASE_COST = 0.03
# A part whose seeds are mostly of the colour of skin may be bare; otherwise such seeds are holes in it.
_BARE_SHARE = 0.6
_SMOOTHING_STEPS = 3


@dataclass(frozen=True, slots=True, eq=False)
class SurfacePlaces:
    """Places of the template's outer skin, in the rest pose of the mean body.

    Args:
        index: (N,) what they are: texels of the atlas, or vertices of the template.
        vertex: (N,) the nearest vertex of the template.
        positions: (N, 3) metres.
        region: (N,) index into `anatomy.REGIONS`.
        seeds: (P, N) places that belong to a part, unless their colour says otherwise.
        neighbours: (N, N) distances between neighbours, symmetric, metres.
    """

    index: IntArray
    vertex: IntArray
    positions: FloatArray
    region: IntArray
    seeds: BoolArray
    neighbours: sparse.csr_array

    @classmethod
    def from_vertices(cls, template: BodyTemplate) -> Self:
        """The vertices."""
        index = np.flatnonzero(template.outside)
        return cls._from_skin(index, index, template.rest[index], template.region[index], template.weights[index])

    @classmethod
    def from_texels(cls, template: BodyTemplate, layout: AtlasLayout) -> Self:
        """The texels."""
        corners = template.place[layout.corners]
        chosen = ((corners >= 0) & template.outside[corners]).all(axis=1)
        corners, barycentric = corners[chosen], layout.barycentric[chosen]
        positions = np.einsum("nc,ncd->nd", barycentric, template.rest[corners])
        weights = np.einsum("nc,ncj->nj", barycentric, template.weights[corners])
        vertex = template.place[layout.closest_vertex[chosen]].astype(np.int64)
        return cls._from_skin(layout.texel[chosen].astype(np.int64), vertex, positions, layout.region[chosen], weights)

    @classmethod
    def _from_skin(
        cls, index: IntArray, vertex: IntArray, positions: FloatArray, region: IntArray, weights: FloatArray
    ) -> Self:
        seeds = np.stack([_seeds(part, positions, region, weights) for part in PARTS])
        return cls(index, vertex, positions, region, seeds, _neighbours(positions))


def _seeds(part: str, positions: FloatArray, region: IntArray, weights: FloatArray) -> BoolArray:
    bones = [number for number, name in enumerate(SKELETON) if name.startswith(_SEED_BONES.get(part, ()))]
    seeds: BoolArray = weights[:, bones].sum(axis=1) > _SEED_WEIGHT
    if part in _SEED_REGIONS:
        inside = region == REGIONS.index(_SEED_REGIONS[part])
        distance_m, _ = cKDTree(positions[~inside]).query(positions[inside])
        seeds[np.flatnonzero(inside)[distance_m > _SEED_DEPTH_M]] = True
    return seeds


def _neighbours(positions: FloatArray) -> sparse.csr_array:
    distance_m, nearest = cKDTree(positions).query(positions, k=_NEIGHBOURS + 1)
    starts = np.arange(0, distance_m.size + 1, _NEIGHBOURS + 1)
    # Places that coincide are neighbours, too; a sparse zero would be no edge.
    graph = sparse.csr_array(
        (np.maximum(distance_m.ravel(), 1e-5), nearest.ravel(), starts), shape=(len(positions),) * 2
    )
    return sparse.csr_array(graph.maximum(graph.T))


def segment(places: SurfacePlaces, colours: ByteArray) -> FloatArray:
    """(N, P) share of each part in the colour of each place, from the colours (N, 3) sRGB; rows sum to 1."""
    tones = rgb2lab(colours) * np.array([_LIGHTNESS_WEIGHT, 1.0, 1.0])
    seeds = _without_holes(places.seeds, tones)
    allowed = _allowed()[:, places.region]
    distance = [_distance(tones, seed, _TONES if part else _SKIN_TONES) for part, seed in enumerate(seeds)]
    likelihood = np.exp(-(np.stack(distance) ** 2) / (2 * _NOISE**2)) * allowed + 1e-9
    likelihood /= likelihood.sum(axis=0)
    cost = np.stack(
        [_growth(places.neighbours, seed, 1 - one) for seed, one in zip(seeds, likelihood, strict=True)], axis=1
    )
    cost[~allowed.T] = np.inf
    share = np.eye(len(PARTS), dtype=np.float32)[cost.argmin(axis=1)]
    averaging = places.neighbours.sign() + sparse.eye_array(len(share), format="csr")
    averaging = sparse.diags_array(1 / averaging.sum(axis=1)) @ averaging
    for _ in range(_SMOOTHING_STEPS):
        share = averaging @ share
    return np.asarray(share, np.float32)


@functools.cache
def _allowed() -> BoolArray:
    """(P, R) whether a part can be in a region."""
    return np.array([[name.split(".")[0] in _REGIONS_OF_PART[part] for name in REGIONS] for part in PARTS])


def _without_holes(seeds: BoolArray, tones: Float64Array) -> BoolArray:
    """Seeds without those that show skin in a part that is not bare."""
    kept = seeds.copy()
    skin = _distance(tones, seeds[0], _SKIN_TONES)
    for part in range(1, len(PARTS)):
        bare = seeds[part] & (skin < _NOISE)
        if bare.sum() < _BARE_SHARE * seeds[part].sum():
            kept[part] &= ~bare
    return kept


def _distance(tones: Float64Array, seed: BoolArray, count: int) -> Float64Array:
    """(N,) distance of colours (N, 3) from the nearest of `count` tones of the seeds (N,)."""
    sample = tones[seed]
    sample = sample[:: max(1, len(sample) // _MOST_SEEDS)].astype(np.float32)
    split = (np.argsort(np.argsort(sample[:, 0])) * count // len(sample)).astype(np.int32)
    _, nearest, centres = cv2.kmeans(sample, count, split, _ITERATIONS, 1, cv2.KMEANS_USE_INITIAL_LABELS)
    common = np.bincount(nearest.ravel(), minlength=count) >= _RARE_SHARE * len(nearest)
    distance: Float64Array = cKDTree(centres[common]).query(tones)[0]
    return distance


def _growth(neighbours: sparse.csr_array, seed: BoolArray, unlikeliness: Float64Array) -> Float64Array:
    """(N,) the cost of the cheapest way from the seeds (N,)."""
    graph = sparse.coo_array(neighbours)
    row, column = graph.coords
    weights = graph.data * (_BASE_COST + (unlikeliness[row] + unlikeliness[column]) / 2)
    graph = sparse.csr_array((weights, (row, column)), shape=graph.shape)
    cost: Float64Array = dijkstra(graph, indices=np.flatnonzero(seed), min_only=True)
    return cost
