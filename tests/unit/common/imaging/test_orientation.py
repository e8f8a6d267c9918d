"""All eight orientations, of EXIF and of display matrices."""

import numpy as np
import pytest
from PIL import Image

from common.imaging.pictures import orientation_of_matrix, turned_upright, upright

# Where first row and first column of a stored picture are to be seen (EXIF 2.3, 4.6.4), and the matrix that says so.
Place = tuple[int | slice, int | slice]
ALL = slice(None)
TOP, BOTTOM, LEFT, RIGHT = (0, ALL), (-1, ALL), (ALL, 0), (ALL, -1)
ORIENTATIONS: dict[int, tuple[Place, Place, tuple[int, int, int, int]]] = {
    1: (TOP, LEFT, (1, 0, 0, 1)),
    2: (TOP, RIGHT, (-1, 0, 0, 1)),
    3: (BOTTOM, RIGHT, (-1, 0, 0, -1)),
    4: (BOTTOM, LEFT, (1, 0, 0, -1)),
    5: (LEFT, TOP, (0, 1, 1, 0)),
    6: (RIGHT, TOP, (0, 1, -1, 0)),
    7: (RIGHT, BOTTOM, (0, -1, -1, 0)),
    8: (LEFT, BOTTOM, (0, -1, 1, 0)),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_rows_and_columns_are_where_exif_says(orientation: int) -> None:
    row, column, _ = ORIENTATIONS[orientation]
    for place, marked in ((row, 0), (column, 1)):
        stored = np.zeros((4, 6, 3), np.uint8)
        stored[TOP if marked == 0 else LEFT] = 255
        expected = np.zeros((6, 4, 3) if orientation >= 5 else (4, 6, 3), np.uint8)
        expected[place] = 255
        assert (upright(stored, orientation) == expected).all()
        assert (np.asarray(turned_upright(Image.fromarray(stored), orientation)) == expected).all()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_matrix_moves_corners_as_its_orientation_does(orientation: int) -> None:
    a, b, c, d = ORIENTATIONS[orientation][2]
    one = 65_536
    assert orientation_of_matrix((a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)) == orientation
    # A matrix that turns by a few degrees more, as of an editor.
    assert orientation_of_matrix((a * one + b * 900, b * one - a * 900, 0, c * one, d * one, 0, 7, 9, 1)) == orientation


def test_matrix_that_is_none_changes_nothing() -> None:
    assert orientation_of_matrix([0] * 9) == orientation_of_matrix([0, 5, 0, 0, 5, 0, 0, 0, 0]) == 1
    assert (upright(np.arange(24, dtype=np.uint8).reshape(2, 4, 3), 77).ravel() == np.arange(24)).all()
