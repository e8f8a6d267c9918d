"""The eight orientations in which cameras store a picture, by EXIF's number (2.3, 4.6.4): 1 is upright.

Imports NumPy where it is needed: a decoder of uploads starts in half of the time without it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image as PillowImage

if TYPE_CHECKING:
    from common.arrays import Image

TRANSPOSED = 5
"""From here on, rows are stored as columns."""
_TURNS = {
    2: PillowImage.Transpose.FLIP_LEFT_RIGHT,
    3: PillowImage.Transpose.ROTATE_180,
    4: PillowImage.Transpose.FLIP_TOP_BOTTOM,
    5: PillowImage.Transpose.TRANSPOSE,
    6: PillowImage.Transpose.ROTATE_270,
    7: PillowImage.Transpose.TRANSVERSE,
    8: PillowImage.Transpose.ROTATE_90,
}
_MIRRORED_ROWS, _MIRRORED_COLUMNS = (3, 4, 7, 8), (2, 3, 6, 7)
# By the signs of a matrix: of its diagonal, or else of the other two entries, from x to y and from y to x.
_STRAIGHT = {(1, 1): 1, (-1, 1): 2, (-1, -1): 3, (1, -1): 4}
_TURNED = {(1, 1): 5, (1, -1): 6, (-1, -1): 7, (-1, 1): 8}


def upright(stored: "Image", orientation: int) -> "Image":
    """A picture (H, W, 3), or (W, H, 3) from 5 on, as it is to be seen; numbers but 2 to 8 change nothing."""
    import numpy as np

    image = stored.swapaxes(0, 1) if TRANSPOSED <= orientation <= 8 else stored
    if orientation in _MIRRORED_ROWS:
        image = image[::-1]
    if orientation in _MIRRORED_COLUMNS:
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def turned_upright(stored: PillowImage.Image, orientation: int) -> PillowImage.Image:
    """The same of a picture of Pillow's."""
    return stored.transpose(_TURNS[orientation]) if orientation in _TURNS else stored


def orientation_of_matrix(matrix: Sequence[int]) -> int:
    """The orientation that is nearest to a display matrix of a video (ISO/IEC 14496-12, 6.2.2); 1 if it is none.

    Args:
        matrix: nine numbers in rows, of which the first two of the first two rows turn: x' = a x + c y, y' = b x + d y.
    """
    a, b, _, c, d = matrix[:5]
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return _STRAIGHT.get((_sign(a), _sign(d)), 1)
    return _TURNED.get((_sign(b), _sign(c)), 1)


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)
