"""The differences that removals make, over people that have a figure."""

import numpy as np
import pytest

from tests.bench.channel.removals import differences


def test_change_is_paired_and_leaves_out_people_without_the_figure() -> None:
    whole = np.array([[30.0, 28.0, 0.5, 0.0], [20.0, 18.0, 0.7, np.nan], [25.0, 23.0, 0.6, 0.5]])
    without = whole - np.array([[1.0, 2.0, 0.0, 0.0], [3.0, 2.0, 0.0, 0.0], [2.0, 2.0, 0.0, -0.5]])
    table = differences({"bodywire": whole, "without": without})
    assert table["bodywire"] == pytest.approx({"psnr_db": 25.0, "mask_db": 23.0, "perceptual": 0.6, "lost05": 0.25})
    own = table["without"]
    assert own["psnr_db_change"] == pytest.approx(-2.0)
    assert own["psnr_db_standard_error"] == pytest.approx(1 / 3**0.5)
    assert (own["mask_db_change"], own["mask_db_standard_error"]) == pytest.approx((-2.0, 0.0))
    assert own["lost05_change"] == pytest.approx(0.25) and own["lost05"] == pytest.approx(0.5)
