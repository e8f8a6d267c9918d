"""Structural similarity of pictures over several scales."""

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from common.arrays import Image
from tests.bench.ms_ssim import ms_ssim, similarities


def noisy(deviation: float) -> tuple[Image, Image]:
    """A picture of squares with and without noise."""
    rng = np.random.default_rng(0)
    smooth = np.kron(rng.integers(40, 215, (24, 24, 3)), np.ones((8, 8, 1)))
    return (smooth + rng.normal(0, deviation, smooth.shape)).clip(0, 255).astype(np.uint8), smooth.astype(np.uint8)


def test_structural_similarity() -> None:
    picture, smooth = noisy(20.0)
    assert ms_ssim(picture, picture) == pytest.approx(1.0, abs=1e-5)
    values = [ms_ssim(*noisy(deviation)) for deviation in (5.0, 20.0, 60.0)]
    assert values == sorted(values, reverse=True)
    luminance, structure = similarities(picture.astype(np.float32), smooth.astype(np.float32))
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    _, expected = structural_similarity(picture, smooth, data_range=255, channel_axis=2, full=True, **settings)
    assert np.allclose(luminance * structure, expected[5:-5, 5:-5], atol=1e-3)
    with pytest.raises(ValueError, match="176 pixels"):
        ms_ssim(picture[:100], smooth[:100])
