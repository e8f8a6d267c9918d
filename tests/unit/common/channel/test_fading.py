"""A channel that fades as a whole: mean power, pace, and the seed."""

import numpy as np
import pytest

from common.channel.fading import SlowFading


def test_fading_has_the_mean_power_and_changes_slowly() -> None:
    fading = SlowFading(7.0, 3)
    snrs_db = np.array([fading.snr_db(number / 5) for number in range(4000)])
    assert 10 * np.log10((10 ** (snrs_db / 10)).mean()) == pytest.approx(7.0, abs=1.0)
    assert snrs_db.std() > 2.0 and np.median(np.abs(np.diff(snrs_db))) < 1.5
    assert snrs_db.min() >= -1.0 and snrs_db.max() <= 20.0


def test_any_mean_is_cut_to_what_the_networks_know() -> None:
    assert (SlowFading(-30.0, 0).snr_db(1.0), SlowFading(60.0, 0).snr_db(1.0)) == (-1.0, 20.0)
