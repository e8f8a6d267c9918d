"""Backgrounds of crops, and what cameras make of pictures: noise, blur, compression, exposure."""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from common.arrays import FloatArray, Image


class BackgroundBank:
    """A fixed set of backgrounds; every draw is a random crop of one, flipped and recoloured.

    Args:
        size: their width and height, pixels.
    """

    def __init__(self, rng: Generator, count: int = 320, size: int = 256) -> None:
        self._images = [make_background(rng, size) for _ in range(count)]
        self._size = size

    def draw(self, rng: Generator, width: int, height: int) -> FloatArray:
        """(height, width, 3) float32 RGB in 0…255."""
        image = self._images[rng.integers(len(self._images))]
        side = int(self._size * rng.uniform(0.3, 1.0))
        left, top = rng.integers(0, self._size - side + 1, 2)
        crop = image[top : top + side, left : left + side]
        crop = crop[:, ::-1] if rng.random() < 0.5 else crop
        enlarged = width > side
        picture = cv2.resize(crop, (width, height), interpolation=cv2.INTER_LINEAR if enlarged else cv2.INTER_AREA)
        gain = rng.uniform(0.7, 1.3) * (1 + rng.normal(0, 0.07, 3))
        return np.asarray(np.clip(picture * gain + rng.normal(0, 12), 0, 255), np.float32)


def make_background(rng: Generator, size: int = 256) -> Image:
    """(size, size, 3) RGB of a random kind."""
    makers: tuple[Callable[[Generator, int], FloatArray], ...] = (
        make_room, _outdoors, _leaves, _clutter, _noise, _gradient, _stripes,
    )  # fmt: skip
    chosen = rng.choice(len(makers), p=[0.34, 0.21, 0.11, 0.17, 0.06, 0.06, 0.05])
    image = makers[chosen](rng, size)
    if chosen in (2, 4, 5, 6) and rng.random() < 0.3:
        image = _furnish(rng, image, int(rng.integers(1, 6)))
    if rng.random() < 0.35:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.6, 4.0))), np.float32)
    return np.asarray(np.clip(image, 0, 255), np.uint8)


def colour(rng: Generator, muted: float = 0.6) -> FloatArray:
    """(3,) random RGB in 0…255; the larger `muted`, the closer to grey on average."""
    grey = rng.uniform(15, 245)
    return np.clip(grey + (rng.uniform(0, 255, 3) - grey) * rng.beta(1, 1 + 4 * muted), 0, 255).astype(np.float32)


def power_law_noise(rng: Generator, size: int, exponent: float, channels: int = 1) -> FloatArray:
    """(size, size, channels) noise, zero mean, unit variance, amplitude spectrum f^−exponent (photographs: about 1)."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = 1.0
    spectrum = rng.normal(size=(channels, *frequency.shape)) + 1j * rng.normal(size=(channels, *frequency.shape))
    spectrum *= frequency**-exponent
    spectrum[:, 0, 0] = 0
    field = np.fft.irfft2(spectrum, s=(size, size)).transpose(1, 2, 0)
    return np.asarray(field / np.maximum(field.std((0, 1)), 1e-9), np.float32)


def texture(rng: Generator, size: int) -> FloatArray:
    """(size, size, 3): a surface that resembles plaster, wood, cloth, brick or plain paint."""
    base = colour(rng)
    kind = rng.random()
    if kind < 0.35:
        return np.full((size, size, 3), base, np.float32)
    if kind < 0.6:
        return base + power_law_noise(rng, size, rng.uniform(0.6, 1.6)) * rng.uniform(3, 26)
    coordinate = np.arange(size, dtype=np.float32)
    period = float(np.exp(rng.uniform(np.log(5), np.log(60))))
    across = ((coordinate / period + rng.random()) % 1 < rng.uniform(0.06, 0.6)).astype(np.float32)
    along = ((coordinate / (period * rng.uniform(0.5, 3))) % 1 < rng.uniform(0.05, 0.5)).astype(np.float32)
    pattern = np.maximum(across[None], along[:, None] * (rng.random() < 0.5))
    pattern = pattern.T if rng.random() < 0.5 else pattern
    second = base + rng.normal(0, 35, 3) if rng.random() < 0.7 else colour(rng)
    surface = base * (1 - pattern[..., None]) + second * pattern[..., None]
    return np.asarray(surface + power_law_noise(rng, size, 1.0) * rng.uniform(0, 8), np.float32)


def _shaded(rng: Generator, size: int, strength: float) -> FloatArray:
    """(size, size, 1) linear gradient of brightness, mean 1."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    return np.asarray((1 + strength * (x * np.cos(angle) + y * np.sin(angle)))[..., None], np.float32)


def _gradient(rng: Generator, size: int) -> FloatArray:
    base = colour(rng, 0.4)
    image = base * _shaded(rng, size, rng.uniform(0, 1.5))
    return np.asarray(image + power_law_noise(rng, size, 1.5) * rng.uniform(0, 6), np.float32)


def _noise(rng: Generator, size: int) -> FloatArray:
    grey = power_law_noise(rng, size, rng.uniform(0.7, 1.5))
    tint = power_law_noise(rng, size, rng.uniform(1.0, 1.8), 3)
    return np.asarray(colour(rng) + grey * rng.uniform(15, 60) + tint * rng.uniform(2, 25), np.float32)


def _stripes(rng: Generator, size: int) -> FloatArray:
    return texture(rng, size) * 0.5 + texture(rng, size) * 0.5 * _shaded(rng, size, 0.6)


def _leaves(rng: Generator, size: int) -> FloatArray:
    """Dead-leaves model: overlapping ellipses whose radii follow a power law."""
    image = np.full((size, size, 3), colour(rng), np.float32)
    palette = [colour(rng, 0.5) for _ in range(rng.integers(3, 9))]
    count = int(rng.integers(120, 420))
    radii = size * 0.012 / np.sqrt(rng.uniform(0.002, 1.0, count))
    for radius in np.sort(radii)[::-1]:
        centre = tuple(int(v) for v in rng.integers(-10, size + 10, 2))
        axes = (max(int(radius), 1), max(int(radius * rng.uniform(0.3, 1.0)), 1))
        shade = palette[rng.integers(len(palette))] * rng.uniform(0.6, 1.3)
        cv2.ellipse(image, centre, axes, float(rng.uniform(0, 360)), 0, 360, _cv_colour(shade), -1)
    return np.asarray(image + power_law_noise(rng, size, 1.0) * rng.uniform(0, 12), np.float32)


def _clutter(rng: Generator, size: int) -> FloatArray:
    return _furnish(rng, texture(rng, size), int(rng.integers(8, 45)))


def _furnish(rng: Generator, image: FloatArray, count: int) -> FloatArray:
    """Draws textured and plain quadrilaterals and ellipses, which represent furniture and other objects."""
    size = len(image)
    image = np.ascontiguousarray(image)
    for _ in range(count):
        centre, half = rng.uniform(0, size, 2), np.exp(rng.uniform(np.log(4), np.log(size * 0.3), 2))
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32) * half
        skew = rng.normal(0, 0.12, (2, 2)) + np.eye(2)
        quad = (corners @ skew + centre).astype(np.int32)
        if rng.random() < 0.35:
            mask = np.zeros((size, size), np.uint8)
            cv2.fillConvexPoly(mask, quad, 255)
            inside = mask > 0
            image[inside] = (texture(rng, size) * _shaded(rng, size, 0.5))[inside]
        elif rng.random() < 0.75:
            cv2.fillConvexPoly(image, quad, _cv_colour(colour(rng)))
            if rng.random() < 0.4:
                cv2.polylines(image, [quad], True, _cv_colour(colour(rng)), int(rng.integers(1, 4)))
        else:
            axes = (int(half[0]) + 1, int(half[1]) + 1)
            cv2.ellipse(image, (int(centre[0]), int(centre[1])), axes, 0, 0, 360, _cv_colour(colour(rng)), -1)
    return image


def make_room(rng: Generator, size: int) -> FloatArray:
    """(size, size, 3): two walls, a floor in perspective, pictures or windows, furniture."""
    wall = texture(rng, size) * _shaded(rng, size, 0.5)
    image = np.ascontiguousarray(wall)
    corner = int(rng.uniform(-0.3, 1.3) * size)
    if 0 < corner < size:
        image[:, corner:] = (texture(rng, size) if rng.random() < 0.3 else wall * rng.uniform(0.7, 1.2))[:, corner:]
    horizon = rng.uniform(0.45, 1.05) * size
    tilt = rng.normal(0, 0.07)
    floor = _floor(rng, size, horizon - size * rng.uniform(0.05, 0.3))
    edge = horizon + tilt * np.abs(np.arange(size) - corner)
    below = np.arange(size)[:, None] > edge[None]
    for _ in range(rng.integers(0, 5)):
        x, y = rng.uniform(-0.1, 0.9) * size, rng.uniform(-0.1, 0.5) * size
        width, height = rng.uniform(0.08, 0.45, 2) * size
        box = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], np.int32)
        bright = np.full(3, rng.uniform(200, 255), np.float32) if rng.random() < 0.35 else colour(rng, 0.3)
        cv2.fillConvexPoly(image, box, _cv_colour(bright))
        cv2.polylines(image, [box], True, _cv_colour(colour(rng)), int(rng.integers(1, 5)))
    image[below] = floor[below]
    return _furnish(rng, image, int(rng.integers(0, 10)))


def _floor(rng: Generator, size: int, vanishing: float) -> FloatArray:
    """A texture on the ground plane in perspective."""
    flat = texture(rng, size)
    x, y = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32))
    depth = size * 0.5 / np.maximum(y - vanishing, 4.0)
    source_x = ((x - size / 2) * depth + size * 2) % size
    source_y = (depth * size) % size
    return np.asarray(cv2.remap(flat, source_x.astype("f4"), source_y.astype("f4"), cv2.INTER_LINEAR), np.float32)


def _outdoors(rng: Generator, size: int) -> FloatArray:
    """Sky, houses, trees and ground."""
    sky = np.array([150, 185, 235], np.float32) * rng.uniform(0.5, 1.15) + rng.normal(0, 18, 3)
    image = np.ascontiguousarray((sky * _shaded(rng, size, 0.4)).astype(np.float32))
    image += np.maximum(power_law_noise(rng, size, 1.7), 0) * rng.uniform(0, 40)
    horizon = rng.uniform(0.2, 0.9) * size
    for _ in range(rng.integers(0, 12)):  # houses
        x, width, height = rng.uniform(-0.1, 1) * size, rng.uniform(0.05, 0.35) * size, rng.uniform(0.1, 0.7) * size
        box = np.array([[x, horizon - height], [x + width, horizon - height], [x + width, size], [x, size]], np.int32)
        mask = np.zeros((size, size), np.uint8)
        cv2.fillConvexPoly(mask, box, 255)
        image[mask > 0] = texture(rng, size)[mask > 0]
    leaf = np.array([70, 105, 50], np.float32) * rng.uniform(0.4, 1.5)
    for _ in range(rng.integers(0, 260)):  # trees and bushes
        x, y = rng.uniform(0, size), horizon - abs(rng.normal(0, 0.16)) * size
        radius = int(rng.uniform(2, 14))
        shade = leaf * rng.uniform(0.5, 1.4) + rng.normal(0, 8, 3)
        cv2.circle(image, (int(x), int(y)), radius, _cv_colour(shade), -1)
    ground = _floor(rng, size, horizon - 10)
    if rng.random() < 0.5:
        grass = np.array([95, 125, 60], np.float32) if rng.random() < 0.6 else np.array([190, 170, 130], np.float32)
        ground = grass * rng.uniform(0.5, 1.3) + power_law_noise(rng, size, 0.6) * rng.uniform(5, 30)
    below = np.arange(size)[:, None] > horizon + rng.normal(0, 0.05) * (np.arange(size)[None] - size / 2)
    image[below] = np.broadcast_to(ground, image.shape)[below]
    return _furnish(rng, image, int(rng.integers(0, 4)))


def _cv_colour(value: npt.NDArray[np.floating]) -> tuple[float, float, float]:
    """The colour as the tuple that OpenCV expects, its channels still in RGB order."""
    return float(value[0]), float(value[1]), float(value[2])


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
