"""Chooses the order in which the codec of point colours transforms the surface points; it ships beside the codec.

    python -m common.training.fit_point_order

Both ends of a link must have the same order. It is not computed from the body model at run time: the vertices of a
model that is baked on another machine differ by fractions of a millimetre, which exchanges some neighbours.
"""

from pathlib import Path

import numpy as np

from common.arrays import Float64Array, IntArray
from common.body.anatomy import POINTS, TOKENS
from common.body.model import BodyModel
from common.texture.point_colours import POINT_ORDER_FILE


def point_order(positions: Float64Array) -> IntArray:
    """(2048,) k-d tree order of the surface points (2048, 3).

    The body model stores the points as 128 tokens of 16 neighbours, which are the leaves of a balanced tree
    (`common.training.surface_points`); each token is divided further, so that every aligned run of 2, 4, 8, … points
    is compact.
    """
    size = POINTS // TOKENS
    tokens = positions.reshape(TOKENS, size, 3)
    return np.concatenate([index * size + kd_tree_order(token) for index, token in enumerate(tokens)])


def kd_tree_order(positions: Float64Array) -> IntArray:
    """Order of 2^k positions (2^k, 3): split at the median of the longest side, then each half likewise."""
    count = len(positions)
    if count == 1:
        return np.zeros(1, dtype=np.int64)
    longest = int(np.argmax(np.ptp(positions, axis=0)))
    ranked = np.argsort(positions[:, longest], kind="stable")
    halves = ranked[: count // 2], ranked[count // 2 :]
    return np.concatenate([half[kd_tree_order(positions[half])] for half in halves])


def mean_body_points() -> Float64Array:
    """(2048, 3): the surface points of the mean body at rest, metres."""
    body = BodyModel.load()
    points: Float64Array = body.surface_points(body.rest_vertices[:1])[0][0].double().numpy()
    return points


def main(file: Path = POINT_ORDER_FILE) -> None:
    """Writes the order."""
    np.savez_compressed(file, order=point_order(mean_body_points()).astype(np.uint16))


if __name__ == "__main__":
    main()
