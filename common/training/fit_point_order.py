"""Chooses the order in which the codec of point colours transforms the surface points; it ships beside the codec.

    python -m common.training.fit_point_order

Both ends of a link must have the same order. It is not computed at run time: numerical libraries of another version
round differently, which exchanges some neighbours.
"""

from pathlib import Path

import numpy as np

from common.arrays import Float64Array, IntArray
from common.body.anatomy import POINTS, TOKENS
from common.body.model import BodyModel
from common.io.command_line import parser_of
from common.texture.point_colours import POINT_ORDER_FILE
from common.training.body.surface_points import halved


def point_order(positions: Float64Array) -> IntArray:
    """(2048,) k-d tree order of the surface points (2048, 3).

    The body model stores the points as 128 tokens of 16 neighbours, which are the leaves of a balanced tree
    (`common.training.body.surface_points`); each token is divided further, so that every aligned run of 2, 4, 8, …
    points is compact.
    """
    tokens = np.arange(POINTS).reshape(TOKENS, -1)
    return np.concatenate([point for token in tokens for point in halved(positions, token, len(token))])


def mean_body_points() -> Float64Array:
    """(2048, 3): the surface points of the mean body at rest, metres."""
    body = BodyModel.load()
    points: Float64Array = body.surface_points(body.rest_vertices[:1])[0][0].double().numpy()
    return points


def main(arguments: list[str] | None = None) -> None:
    parser = parser_of("python -m common.training.fit_point_order", __doc__)
    parser.add_argument("--out", type=Path, default=POINT_ORDER_FILE, help="file to write (default: the package's)")
    options = parser.parse_args(arguments)
    np.savez_compressed(options.out, order=point_order(mean_body_points()).astype(np.uint16))


if __name__ == "__main__":
    main()
