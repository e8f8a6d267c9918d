"""Unknown texels get smooth colours from the known ones around them, and no others."""

import numpy as np

from common.texture.atlas import filled


def test_known_texels_stay_and_unknown_ones_lie_between_them() -> None:
    colours = np.zeros((32, 48, 3), np.uint8)
    colours[:, 24:] = 200
    known = np.ones((32, 48), np.bool_)
    known[8:24, 12:36] = False
    found = filled(colours, known)
    np.testing.assert_array_equal(found[known], colours[known])
    assert found[~known].max() <= 200 and 40 < found[16, 24, 0] < 160


def test_without_known_texels_all_are_grey() -> None:
    assert (filled(np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16), np.bool_)) == 128).all()
