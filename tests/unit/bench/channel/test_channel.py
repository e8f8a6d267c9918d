"""The bench of the image channel: WebP at capacity, budgets, and paired changes."""

from fractions import Fraction

import numpy as np
import pytest

from common.arrays import Image
from common.channel.state import ChannelState
from tests.bench.channel.__main__ import (
    Case,
    Sent,
    means,
    measured,
    psnr_db,
    webp_at_capacity,
)

RATE = Fraction(1, 16)


def leaves(seed: int) -> Image:
    """Overlapping rectangles of random colours, which have edges of all sizes."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((192, 192, 3), np.uint8)
    for _ in range(200):
        (top, left), (height, width) = rng.integers(0, 192, 2), rng.integers(3, 64, 2)
        picture[top : top + height, left : left + width] = rng.integers(0, 256, 3)
    return picture


def case(seed: int = 0) -> Case:
    """A picture with a person in the upper half."""
    return Case(leaves(seed), np.repeat([[1], [0]], 6, axis=0).astype(np.uint8).repeat(12, axis=1))


def test_files_pass_at_capacity_and_get_better_with_the_snr() -> None:
    quality = []
    for snr_db in (0.0, 6.0, 13.0):
        sent = webp_at_capacity(case(), ChannelState(snr_db), RATE, 0)
        assert sent is not None and 0.7 * RATE < sent.ratio <= RATE
        quality.append(psnr_db(sent.picture, case().picture))
    assert quality == sorted(quality)
    assert webp_at_capacity(case(), ChannelState(-20.0), Fraction(1, 64), 0) is None


def test_changes_are_paired_and_exceeded_budgets_are_found() -> None:
    def brighter(levels: int) -> object:
        return lambda case, channel, rate, seed: Sent(case.picture // 2 + np.uint8(levels + seed), float(rate))

    compared = {"bodywire": brighter(2), "other": brighter(9), "silent": lambda *_: None}
    found = means(measured(compared, [case(0), case(1)], RATE, 0, lambda a, b: 0.5))  # type: ignore[arg-type]
    assert {f"psnr_db_{snr_db}" for snr_db in (1, 4, 7, 10, 13)} | {"ms_ssim_10", "mask_db_10"} <= found["other"].keys()
    assert found["bodywire"]["channel_uses_per_pixel"] == pytest.approx(3 / 16)
    for figure in ("psnr_db", "mask_db"):
        change = found["other"][f"{figure}_10"] - found["bodywire"][f"{figure}_10"]
        assert found["other"][f"{figure}_change"] == pytest.approx(change)
        assert 0 < found["other"][f"{figure}_error"] < abs(change)
    assert found["other"]["perceptual_change"] == 0 and found["silent"] == {}
    with pytest.raises(AssertionError, match="exceeds the budget"):
        measured({"bodywire": lambda case, *_: Sent(case.picture, 0.07)}, [case()], RATE, 0, lambda a, b: 0.5)
