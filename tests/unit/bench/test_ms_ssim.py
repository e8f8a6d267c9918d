"""Structural similarity."""

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from tests.bench.ms_ssim import ms_ssim, similarities


def pictures(deviation: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    smooth = np.kron(rng.integers(40, 215, (24, 24, 3)), np.ones((8, 8, 1)))
    noise = rng.normal(0, deviation, smooth.shape)
    return (smooth + noise).clip(0, 255).astype(np.uint8), smooth.astype(np.uint8)


def test_same_picture_is_one() -> None:
    picture, _ = pictures(20.0)
    assert ms_ssim(picture, picture) == pytest.approx(1.0, abs=1e-5)


def test_one_scale_agrees_with_scikit_image() -> None:
    noisy, smooth = pictures(20.0)
    luminance, structure = similarities(noisy.astype(np.float32), smooth.astype(np.float32))
    _, expected = structural_similarity(
        noisy,
        smooth,
        data_range=255,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    assert np.allclose(luminance * structure, expected[5:-5, 5:-5], atol=1e-3)


def test_more_noise_is_less_similar() -> None:
    values = [ms_ssim(*pictures(deviation)) for deviation in (5.0, 20.0, 60.0)]
    assert values == sorted(values, reverse=True)


def test_small_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="176 pixels"):
        ms_ssim(np.zeros((100, 300, 3), np.uint8), np.zeros((100, 300, 3), np.uint8))
