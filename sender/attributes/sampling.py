"""Pixels of crops at places in crop units."""

import numpy as np

from common.arrays import BoolArray, ByteArray, Float64Array, FloatArray


def inside(positions: FloatArray | Float64Array) -> BoolArray:
    """(N,) whether positions (N, 2) are in the crop; not a number is not."""
    # Much faster than `all` along the short axis.
    across, down = ((positions >= 0) & (positions < 1)).T
    return np.asarray(across & down)


def nearest(image: FloatArray | ByteArray, positions: FloatArray | Float64Array) -> FloatArray:
    """(N,) or (N, C) nearest pixels of (S, S) or (S, S, C) at (N, 2) positions, 0 outside."""
    size = len(image)
    cells = np.clip(np.floor(np.nan_to_num(positions) * size), 0, size - 1).astype(np.int64)
    values, known = image[cells[:, 1], cells[:, 0]], inside(positions)
    return np.asarray(np.where(known if values.ndim == 1 else known[:, None], values, 0), np.float32)
