"""The bench compares curves where they have the same quality."""

import numpy as np
import pytest

from tests.bench.picture_codec import Point, as_db, masked_ms_ssim, ratios, size_at


def points(*sizes: float, quality: int = 72) -> list[Point]:
    return [Point(quality + number, size, 10.0 + number, 30.0, 0, 0) for number, size in enumerate(sizes)]


def test_ratio_of_half_the_bytes_is_a_half() -> None:
    assert ratios(points(50, 100, 200), points(100, 200, 400)) == pytest.approx((0.5, 0.5))


def test_ratio_covers_only_what_both_curves_have() -> None:
    mean, product = ratios(points(100, 200)[1:] + points(100, 200)[:1], points(100, 200, 400, quality=60))
    assert mean == pytest.approx(1.0) and np.isnan(product)
    assert np.isnan(size_at(points(100, 200), np.array([9.0, 12.0]))).all()


def test_unknown_texels_do_not_count() -> None:
    original = np.random.default_rng(0).integers(0, 256, (192, 192, 3), np.uint8)
    known = np.arange(192)[None].repeat(192, axis=0) < 90
    picture = np.where(known[..., None], original, 0).astype(np.uint8)
    assert masked_ms_ssim(picture, original, known) == pytest.approx(1.0)
    assert masked_ms_ssim(picture, original, ~known) < 0.5
    assert as_db(0.99) == pytest.approx(20.0)
