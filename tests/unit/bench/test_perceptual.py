from pathlib import Path

import numpy as np
import pytest
import torch

from common.arrays import Image
from common.errors import UsageError
from tests.bench.perceptual import BLUR_PX, JPEG_QUALITY, NOISE, Lpips, PerceptualDistance, calibrate, degraded


@pytest.fixture(scope="module")
def distance() -> PerceptualDistance:
    return PerceptualDistance()


def leaves(seed: int, side: int = 192) -> Image:
    """Overlapping rectangles of random colours, which have edges of all sizes."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((side, side, 3), np.uint8)
    for _ in range(200):
        (top, left), (height, width) = rng.integers(0, side, 2), rng.integers(3, side // 3, 2)
        picture[top : top + height, left : left + width] = rng.integers(0, 256, 3)
    return picture


def test_equal_pictures_have_no_distance(distance: PerceptualDistance) -> None:
    assert distance(leaves(0), leaves(0)) == pytest.approx(0.0, abs=1e-6)


def test_distance_orders_every_degradation_as_ms_ssim_does(distance: PerceptualDistance) -> None:
    figures = calibrate(distance, [leaves(1)], seed=2)
    assert figures["monotonic_blur"] == figures["monotonic_noise"] == figures["monotonic_jpeg"] == 1.0
    assert figures["agreement"] > 0.8


def test_calibration_tells_a_distance_that_orders_nothing() -> None:
    rng = np.random.default_rng(3)
    figures = calibrate(lambda picture, original: float(rng.random()), [leaves(1), leaves(2)], seed=2)
    assert figures["agreement"] < 0.8
    assert figures["monotonic_noise"] < 1.0


def test_degradations_have_all_levels() -> None:
    found = degraded(leaves(4), seed=5)
    assert {name: len(levels) for name, levels in found.items()} == {
        "blur": len(BLUR_PX), "noise": len(NOISE), "jpeg": len(JPEG_QUALITY)
    }  # fmt: skip
    assert all(level.dtype == np.uint8 and level.shape == (192, 192, 3) for each in found.values() for level in each)


def test_tiles_reach_every_border(distance: PerceptualDistance) -> None:
    picture = leaves(6, side=200)
    for rows in (slice(0, 20), slice(-20, None)):
        changed = picture.copy()
        changed[rows, -20:] = 255 - changed[rows, -20:]
        assert distance(changed, picture) > 1e-3


def test_pictures_that_cannot_be_compared_are_refused(distance: PerceptualDistance) -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        distance(leaves(0), leaves(0)[:180])
    with pytest.raises(ValueError, match=r"100×100 pixels; the distance needs 160"):
        distance(leaves(0)[:100, :100], leaves(0)[:100, :100])


def test_lpips_needs_the_weights_of_alexnet(tmp_path: Path) -> None:
    pytest.importorskip("lpips")
    from torchvision.models import alexnet

    with pytest.raises(UsageError, match="not the weights of torchvision's AlexNet"):
        Lpips(tmp_path / "missing.pth")
    torch.manual_seed(0)
    torch.save(alexnet(weights=None).state_dict(), tmp_path / "alexnet.pth")
    distance = Lpips(tmp_path / "alexnet.pth")
    assert distance(leaves(0), leaves(0)) == pytest.approx(0.0, abs=1e-6)
    assert distance(leaves(1), leaves(0)) > 0.01


def test_frechet_distance_forgives_other_places_and_not_blur(distance: PerceptualDistance) -> None:
    originals = [leaves(seed) for seed in range(3)]
    moved = [np.ascontiguousarray(np.roll(each, (32, 48), axis=(0, 1))) for each in originals]
    blurred = degraded_by_blur(originals)
    assert distance.frechet(originals, originals) == pytest.approx(0, abs=0.05)
    assert distance.frechet(moved, originals) < 0.5 * distance.frechet(blurred, originals)
    # The plain distance says the opposite.
    assert distance(moved[0], originals[0]) > distance(blurred[0], originals[0])


def degraded_by_blur(pictures: list[Image]) -> list[Image]:
    return [degraded(each, 0)["blur"][3] for each in pictures]
