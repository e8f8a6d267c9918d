"""Beliefs about a fading channel, the search for a file's quality, and what is shown between pictures."""

import numpy as np
import pytest

from common.arrays import Image
from tests.bench.channel.adaptation import believed_db, coded_bits, fading_snrs_db
from tests.bench.channel.reconstruction import Shown
from tests.bench.moving_clips import CAMERA


def test_belief_is_of_the_past_and_the_margin_keeps_it_below_the_truth() -> None:
    true = fading_snrs_db(500, 1)
    plain, safe = (believed_db(true, 1, margin=margin) for margin in (False, True))
    changed = true.copy()
    changed[100:] = 7.0
    assert np.array_equal(believed_db(changed, 1, margin=True)[:101], safe[:101]), "the future does not count"
    assert 0.3 < (plain > true).mean() < 0.7 and (safe > true).mean() < 0.3


def test_fewest_bits_that_reach_a_quality() -> None:
    picture = np.full((8, 8, 3), 100, np.uint8)

    def encode(quality: int) -> tuple[int, Image]:
        return 10 * quality, picture + np.uint8(101 - quality)

    assert coded_bits(encode, picture, 20 * np.log10(255 / 20)) == 8 * 810
    assert np.isnan(coded_bits(encode, picture, 60.0))


def test_pictures_that_are_not_sent_leave_the_last_one_shown() -> None:
    # Everybody moves to the right by 0.1 m a frame, 2 m away, and the spine too: only the picture sees it.
    truth = np.zeros((6, 17, 3))
    truth[..., 0], truth[..., 2] = 0.1 * np.arange(6)[:, None], 2.0
    masks = np.arange(6) <= np.arange(6)[:, None, None] + np.zeros((4, 1))
    shown = Shown(list(truth), list(masks), [60.0] * 6, [1.0], [2.0])
    every, third = shown.figures(truth, masks, 1), shown.figures(truth, masks, 3)
    assert (every["mpjpe_mm"], every["image_error_px"], every["age_mean_ms"]) == (0.0, 0.0, 0.0)
    assert third["age_mean_ms"] == pytest.approx(1000 / 30)
    assert third["mpjpe_mm"] == pytest.approx(0.0, abs=1e-9)
    assert third["image_error_px"] == pytest.approx(0.1 * CAMERA.focal_px / 2)
    assert every["iou_mean"] == 1.0
    # The silhouette grows by a column a frame: one column is shown for one, two and three.
    assert third["iou_mean"] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 + 4 / 5 + 4 / 6) / 6)
    assert (every["uses_per_s"], third["uses_per_s"]) == (1800.0, 600.0)
