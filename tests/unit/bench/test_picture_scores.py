"""Similarity of pictures, and systems behind a simulated channel."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from common.arrays import Image
from common.channel.state import ChannelState
from common.channel.transmission import psnr_db
from common.errors import BodywireError
from tests.bench.channel.__main__ import (
    SNRS_DB,
    check_bound,
    conditions,
    measure,
    noise_bound_db,
    noise_picture,
    panels,
)
from tests.bench.channel.perceptual import PerceptualDistance
from tests.bench.channel.systems import CodedFile, Condition, Sent, TrainedChannel
from tests.bench.ms_ssim import ms_ssim, similarities
from tests.support.tiny_image_channel import tiny_network

SIXTEENTH = Fraction(1, 16)


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


def leaves(seed: int) -> Image:
    """Overlapping rectangles of random colours, which have edges of all sizes."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((192, 192, 3), np.uint8)
    for _ in range(200):
        (top, left), (height, width) = rng.integers(0, 192, 2), rng.integers(3, 64, 2)
        picture[top : top + height, left : left + width] = rng.integers(0, 256, 3)
    return picture


def test_perceptual_distance_grows_with_blur_and_frechet_forgives_other_places() -> None:
    distance, originals = PerceptualDistance(), [leaves(seed) for seed in range(3)]
    blurred = [np.asarray(cv2.GaussianBlur(each, (0, 0), 2.0), np.uint8) for each in originals]
    levels = [np.asarray(cv2.GaussianBlur(originals[0], (0, 0), sigma), np.uint8) for sigma in (0.5, 1.2, 3.0)]
    found = [distance(each, originals[0]) for each in (originals[0], *levels)]
    assert found[0] == pytest.approx(0.0, abs=1e-6) and found == sorted(found)
    moved = [np.ascontiguousarray(np.roll(each, (32, 48), axis=(0, 1))) for each in originals]
    assert distance.frechet(originals, originals) == pytest.approx(0, abs=0.05)
    assert distance.frechet(moved, originals) < 0.5 * distance.frechet(blurred, originals)
    # The plain distance says the opposite.
    assert distance(moved[0], originals[0]) > distance(blurred[0], originals[0])
    with pytest.raises(ValueError, match="cannot be compared"):
        distance(originals[0], originals[0][:180])


class Telepath:
    """Sends everything for nothing, or for a multiple of its budget."""

    def __init__(self, share: int = 0) -> None:
        self._share = share

    def send(self, picture: Image, condition: Condition, seed: int) -> Sent | None:
        return Sent(picture, self._share * float(condition.rate))


def test_information_past_the_channel_and_exceeded_budgets_are_found() -> None:
    # 13 dB: capacity log₂(1 + 19.95) = 4.39 bits a use, 1/16 use a value: 6.02 dB a bit.
    bound = noise_bound_db(Condition(ChannelState(13.0), SIXTEENTH))
    grey = psnr_db(np.full((256, 256, 3), 128, np.uint8), noise_picture(0))
    assert bound == pytest.approx(grey + 4.39 / 16 * 6.02, abs=0.05)
    assert check_bound({"tiny": TrainedChannel(tiny_network())}, seed=0)["tiny"] > 0
    with pytest.raises(BodywireError, match=r"passes the channel: telepath"):
        check_bound({"telepath": Telepath()}, seed=0)
    with pytest.raises(AssertionError, match="exceeds the budget"):
        measure({"spendthrift": Telepath(2)}, [noise_picture(0)], 0, lambda a, b: 0.5)


def test_every_condition_is_measured_and_drawn() -> None:
    figures = measure({"telepath": Telepath(1)}, [noise_picture(0)], 0, lambda a, b: 0.5)
    found = figures["telepath"]
    assert {f"psnr_db_{snr}" for snr in SNRS_DB} | {"ms_ssim_10", "perceptual_10"} <= found.keys()
    # PSNR and MS-SSIM of all conditions, perceptual distance of the plain ones.
    assert len(found) == 2 * len(conditions()) + (len(SNRS_DB) + 4) + 1
    assert (found["ms_ssim_7"], found["channel_uses_per_pixel"]) == pytest.approx((1.0, 3 / 16))
    for panel in panels(figures):
        assert panel.lines["telepath"].x.tolist() == list(SNRS_DB)


def test_files_pass_at_capacity_of_a_known_channel_and_get_better_with_the_snr() -> None:
    coarse = np.random.default_rng(0).integers(40, 215, (12, 16, 3)).astype(np.float32)
    picture = cv2.resize(coarse, (128, 96), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
    for name in ("JPEG", "WEBP", "AVIF"):
        quality = []
        for snr_db in (0.0, 6.0, 13.0):
            condition = Condition(ChannelState(snr_db), Fraction(1, 6))
            sent = CodedFile(name).send(picture, condition, 0)
            assert sent is not None and sent.rate <= condition.rate
            quality.append(psnr_db(sent.picture, picture))
        assert quality == sorted(quality), name
    nothing = CodedFile("JPEG").send(picture, Condition(ChannelState(-20.0), Fraction(1, 64)), 0)
    assert nothing is not None and nothing.rate == 0.0
    assert (nothing.picture == picture.mean((0, 1)).round()).all()
    pilots = ChannelState(4.0, "rayleigh", pilots=2)
    for unknown in (Condition(ChannelState(4.0), SIXTEENTH, 7.0), Condition(pilots, SIXTEENTH)):
        assert CodedFile("JPEG").send(picture, unknown, 0) is None
