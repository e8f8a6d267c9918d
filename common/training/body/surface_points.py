"""Places of the 2,048 surface points on the skin: evenly spread, in the order of a balanced tree.

`common.training.body.fit_shape_space` chooses them once, and they ship with the shape space: networks identify a
point by its index.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from common.body.anatomy import POINTS, SKELETON, TOKENS
from common.body.triangles import random_points


def surface_places(
    vertices: npt.NDArray[Any],
    faces: npt.NDArray[Any],
    weights: npt.NDArray[Any],
    joints: npt.NDArray[Any],
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Corners (2048, 3) and barycentric weights (2048, 3) of evenly spread skin points, in tree order.

    The points of the mean body with spread limbs are halved recursively along their longest extent.  A leaf has 16
    neighbours (a token), and the order of the leaves is space-filling: 4 consecutive tokens are neighbours too.
    """
    generator = np.random.default_rng(20261120)
    candidates, _, chosen, barycentric = random_points(vertices, faces, 40_000, generator)
    spread = _farthest_points(candidates, POINTS)
    dominant = weights.argmax(1)[faces[chosen[spread], barycentric[spread].argmax(1)]]
    tokens = halved(candidates[spread] + spread_offsets(joints)[dominant], np.arange(POINTS), TOKENS)
    kept = spread[np.concatenate(tokens)]
    return faces[chosen[kept]], barycentric[kept]


def _farthest_points(points: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    chosen = np.zeros(count, dtype=np.int64)
    distance = np.full(len(points), np.inf)
    for index in range(1, count):
        distance = np.minimum(distance, ((points - points[chosen[index - 1]]) ** 2).sum(1))
        chosen[index] = distance.argmax()
    return chosen


def spread_offsets(joints: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(52, 3) offset of each bone that separates the limbs, so that no leaf joins two of them."""
    offsets = np.zeros_like(joints)
    push = {"upperleg01": 0.3, "lowerleg01": 0.3, "foot": 0.3, "upperarm01": 0.3, "lowerarm01": 0.45, "wrist": 0.6}
    for index, name in enumerate(SKELETON):
        stem = "wrist" if name.startswith("finger") else name[:-2]
        if name[-2:] in (".L", ".R"):
            offsets[index, 0] = push.get(stem, 0.0) * (1 if name.endswith(".L") else -1)
    return offsets


def halved(points: npt.NDArray[Any], members: npt.NDArray[Any], parts: int) -> list[npt.NDArray[Any]]:
    """The leaves of a balanced k-d tree: `members` of points (N, 3), halved along the longest side, and so on.

    Args:
        parts: number of leaves, a power of 2.
    """
    if parts == 1:
        return [members]
    longest = np.ptp(points[members], axis=0).argmax()
    ranked = members[np.argsort(points[members, longest], kind="stable")]
    middle = len(ranked) // 2
    return [*halved(points, ranked[:middle], parts // 2), *halved(points, ranked[middle:], parts // 2)]
