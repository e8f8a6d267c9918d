"""Degradations of cameras and transmission: blur, noise, exposure, colour casts, low resolution, JPEG."""

import cv2
import numpy as np
from numpy.random import Generator

from common.arrays import FloatArray, Image


def degrade(rng: Generator, image: FloatArray, noise: Generator | None = None, person_px: float | None = None) -> Image:
    """Applies random degradations to a (H, W, 3) float32 RGB image in 0…255; 15 % of the images are not changed.

    Args:
        noise: draws the sensor's noise, in place of `rng`: frames of a clip have the same degradations, and each its
            own noise.
        person_px: side of the square around the person, to which blur is in proportion; default: the picture's height.
    """
    if rng.random() < 0.15:
        return np.asarray(np.clip(image, 0, 255), np.uint8)
    image = expose(rng, image)
    image = soften(rng, image, person_px or image.shape[0])
    if rng.random() < 0.4:
        image = add_sensor_noise(rng, image, noise)
    if rng.random() < 0.08:
        image = np.repeat(image @ np.array([[0.299], [0.587], [0.114]], np.float32), 3, axis=2)
    pixels = np.asarray(np.clip(image, 0, 255), np.uint8)
    return compress(rng, pixels) if rng.random() < 0.5 else pixels


def expose(rng: Generator, image: FloatArray) -> FloatArray:
    """Random white balance, exposure, gamma, saturation and contrast, each often neutral, of whole grey levels."""
    balance = 1 + rng.normal(0, 0.06, 3) if rng.random() < 0.5 else np.ones(3)
    gain = np.exp(rng.normal(0.03, 0.2)) * balance
    curve = np.clip(np.arange(256)[:, None] / 255 * gain, 0, 1)
    if rng.random() < 0.4:
        curve = curve ** np.exp(rng.normal(0, 0.25))
    saturation = rng.uniform(0.3, 1.4) if rng.random() < 0.5 else 1.0
    mixing, offset = saturation * np.eye(3) + (1 - saturation) / 3, 0.0
    if rng.random() < 0.4:
        contrast = rng.uniform(0.6, 1.3)
        mixing, offset = contrast * mixing, 0.5 * (1 - contrast) + rng.normal(0, 0.05)
    levels = np.asarray(np.clip(np.rint(image), 0, 255), np.uint8)
    exposed = cv2.LUT(levels, np.asarray(curve, np.float32)[None])
    return np.asarray(cv2.transform(exposed, 255 * np.c_[mixing, np.full(3, offset)]), np.float32)


def soften(rng: Generator, image: FloatArray, person_px: float) -> FloatArray:
    """Low resolution, defocus, motion blur or over-sharpening, at most one of them; `person_px` as in `degrade`."""
    kind = rng.random()
    height, width = image.shape[:2]
    if kind < 0.2:
        factor = rng.uniform(0.25, 0.8)
        reduced = cv2.resize(image, (int(width * factor), int(height * factor)), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(reduced, (width, height), interpolation=int(rng.choice([1, 2]))), np.float32)
    if kind < 0.45:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 1.5) * person_px / 128)), np.float32)
    if kind < 0.55:
        return np.asarray(cv2.filter2D(image, -1, _motion_kernel(rng, int(rng.integers(3, 9)))), np.float32)
    if kind < 0.65:  # over-sharpening, as in phones
        blurred = cv2.GaussianBlur(image, (0, 0), 1.0)
        return np.asarray(image + (image - blurred) * np.float32(rng.uniform(0.3, 1.2)), np.float32)
    return image


def add_sensor_noise(rng: Generator, image: FloatArray, noise: Generator | None = None) -> FloatArray:
    """Shot and read noise; in 30 % of the images spatially correlated, as after denoising.

    Args:
        noise: as for `degrade`.
    """
    read, shot = np.float32(rng.exponential(3.0)), np.float32(rng.exponential(0.25))
    grain = (noise or rng).standard_normal(image.shape, dtype=np.float32)
    if rng.random() < 0.3:
        grain = np.asarray(cv2.GaussianBlur(grain, (0, 0), 0.8) * 2, np.float32)
    grain *= read + shot * np.asarray(cv2.sqrt(np.clip(image, 0, 255)))
    return image + grain


def compress(rng: Generator, image: Image) -> Image:
    """JPEG at quality 12…95."""
    quality = int(12 + 83 * rng.beta(1.6, 1.2))
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def _motion_kernel(rng: Generator, length: int) -> FloatArray:
    kernel = np.zeros((length, length), np.float32)
    angle, centre = rng.uniform(0, np.pi), (length - 1) / 2
    offset = np.array([np.cos(angle), np.sin(angle)], np.float32) * centre
    ends = [tuple(int(v) for v in np.round(centre + sign * offset)) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1)
    return np.asarray(kernel / kernel.sum(), np.float32)
