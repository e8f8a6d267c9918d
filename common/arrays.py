"""NumPy array types; the docstring of each function or field gives the shape."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Int32Array = npt.NDArray[np.int32]
Uint32Array = npt.NDArray[np.uint32]
ByteArray = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]

Image = npt.NDArray[np.uint8]
"""(height, width, 3) RGB, or BGR where a name says so."""
Box = npt.NDArray[np.float32]
"""(4,) left, top, right, bottom in pixels; the centre of the first pixel is at 0.5."""
