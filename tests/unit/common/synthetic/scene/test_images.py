import cv2
import numpy as np

from common.synthetic.assets.appearance import Borders
from common.synthetic.scene.backgrounds import (
    BackgroundBank,
    add_sensor_noise,
    compress,
    make_background,
    power_law_noise,
    soften,
)
from common.synthetic.scene.scene import WHOLE, Layer, compose


def ramp() -> np.ndarray:
    x = np.linspace(20, 220, 64, dtype=np.float32)
    return np.repeat(np.tile(x, (64, 1))[..., None], 3, 2)


def test_backgrounds_are_diverse() -> None:
    rng = np.random.default_rng(0)
    images = [make_background(rng, 64) for _ in range(30)]
    assert all(image.shape == (64, 64, 3) and image.dtype == np.uint8 for image in images)
    means = np.array([image.mean() for image in images])
    assert means.std() > 15
    assert len({image.tobytes() for image in images}) == 30


def test_power_law_noise_has_the_spectrum_of_photographs() -> None:
    noise = power_law_noise(np.random.default_rng(0), 128, exponent=1.0)[..., 0]
    spectrum = np.abs(np.fft.fft2(noise))
    frequency = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128)[None])
    low, high = (frequency > 0.03) & (frequency < 0.05), (frequency > 0.3) & (frequency < 0.5)
    ratio = spectrum[low].mean() / spectrum[high].mean()
    assert 7 < ratio < 14, "amplitude falls as 1 / f"


def test_degraded_image_correlates_with_the_clean_one() -> None:
    rng = np.random.default_rng(1)
    clean = ramp()
    for _ in range(20):
        softened = soften(rng, clean, len(clean))
        for changed in (softened, add_sensor_noise(rng, clean), compress(rng, clean.astype(np.uint8))):
            assert np.corrcoef(cv2.blur(np.asarray(changed, np.float32), (5, 5)).ravel(), clean.ravel())[0, 1] > 0.9


def test_borders_are_in_the_shaders_order() -> None:
    values = Borders(sleeve_end=1.5, jacket_gap=0.07).as_array()
    assert values.shape == (24,)
    assert values[0] == np.float32(1.5)
    assert values[17] == np.float32(0.07)


def test_compose_keeps_the_person_visible() -> None:
    rng = np.random.default_rng(0)
    bank = BackgroundBank(rng, count=4, size=64)
    alpha = np.zeros((64, 64, 1), np.float32)
    alpha[8:56, 24:40] = 1
    person = Layer(alpha * np.full(3, 128, np.float32), alpha)
    box = (np.array([24, 8, 40, 56]) / 64).astype(np.float32)
    masks = [compose(rng, person, bank, [person], box, WHOLE)[1] for _ in range(200)]
    visible = np.array([(mask > 0).sum() for mask in masks]) / alpha.sum()
    assert visible.min() > 0.2
    assert 0.1 < (visible < 1).mean() < 0.45
    assert all((mask[alpha[..., 0] == 0] == 0).all() for mask in masks)
