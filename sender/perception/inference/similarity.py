"""The similarity that brings points nearest to others.

Umeyama, *Least-squares estimation of transformation parameters between two point patterns*, 1991.
"""

import numpy as np

from common.arrays import Float64Array, FloatArray


def similarity(
    points: FloatArray | Float64Array, targets: FloatArray | Float64Array, shares: Float64Array
) -> tuple[Float64Array, float, Float64Array]:
    """Rotation (3, 3), scale and position (3,) with the least squared distances of scale · R · point + position.

    Args:
        points, targets: (N, 3).
        shares: (N,) of each point; their sum is 1.
    """
    middle, aim = shares @ points, shares @ targets
    centred = points - middle
    left, sizes, right = np.linalg.svd(((targets - aim) * shares[:, None]).T @ centred)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = np.asarray((left * signs) @ right, np.float64)
    scale = float(sizes @ signs) / float(shares @ np.square(centred).sum(axis=1))
    return rotation, scale, np.asarray(aim - scale * rotation @ middle, np.float64)
