"""Unknown texels get smooth colours from the known ones around them, and no others."""

import numpy as np

from common.texture.hole_filling import filled


def test_known_texels_stay_and_unknown_ones_lie_between_them() -> None:
    colours = np.zeros((32, 48, 3), np.uint8)
    colours[:, 24:] = 200
    known = np.ones((32, 48), np.bool_)
    known[8:24, 12:36] = False
    found = filled(colours, known)
    np.testing.assert_array_equal(found[known], colours[known])
    assert found[~known].max() <= 200 and 40 < found[16, 24, 0] < 160


def test_small_hole_has_the_colours_around_it_alone() -> None:
    colours, known = np.full((64, 64, 3), 100, np.uint8), np.ones((64, 64), np.bool_)
    colours[:, 32:] = 200
    known[30:36, 24:30] = False
    np.testing.assert_allclose(filled(colours, known)[~known], 100, atol=1)


def test_without_known_texels_all_are_grey() -> None:
    assert (filled(np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16), np.bool_)) == 128).all()
