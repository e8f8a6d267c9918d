"""Random appearance of synthetic people: skin, hair and painted clothes; random lights."""

from colorsys import hsv_to_rgb
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.random import Generator

from common.arrays import FloatArray

MATERIALS: tuple[str, ...] = ("skin", "top", "bottom", "shoes", "hair", "gloves", "inner", "socks")
SKIN, TOP, BOTTOM, SHOES, HAIR, GLOVES, INNER, SOCKS = range(len(MATERIALS))
PATTERNS: tuple[str, ...] = ("plain", "stripes", "checks", "blobs", "denim", "logo", "blocks")
ENDLESS = 99.0
"""A border beyond every coordinate: no cut, or the garment does not occur."""

_SKIN_TONES = np.array(
    [
        [250, 228, 212],
        [241, 205, 180],
        [224, 177, 144],
        [198, 145, 108],
        [160, 108, 76],
        [115, 73, 50],
        [78, 48, 35],
        [50, 32, 26],
    ],
    np.float32,
)
_HAIR_COLOURS = np.array(
    [[18, 15, 14], [42, 30, 24], [70, 46, 30], [106, 74, 46], [150, 112, 70], [206, 176, 124], [128, 58, 32],
     [150, 148, 146], [215, 214, 210]], np.float32)  # fmt: skip
_HAIR_SHARES = np.array([0.28, 0.22, 0.16, 0.1, 0.07, 0.06, 0.03, 0.05, 0.03], np.float32)


_IRISES = np.array([[0.12, 0.07, 0.04], [0.2, 0.13, 0.07], [0.3, 0.4, 0.5], [0.3, 0.38, 0.25]], np.float32)


@dataclass(frozen=True)
class Borders:
    """Borders between painted garments, in the coordinates of `Canvas.limb`, in the order of the shader's `border`.

    Args:
        sleeve_end: along the arm.
        top_hem: up the torso; negative values reach below the hips.
        top_leg_end: along the leg, for tunics and dresses; below zero ends at the hips.
        neckline: up the torso.
        neckline_depth: depth of the V of the neckline.
        waist: up the torso.
        trouser_end: along the leg.
        shoe_top: along the leg.
        sock_top: along the leg.
        glove_start: along the arm.
        hairline_front: −1 crown … 1 chin.
        hairline_side: the same.
        hairline_back: the same.
        hair_length: up the torso, the lower end of long hair on the back.
        beard: 0 none … 1 up to the eyes.
        neckline_slope: slope of the V of the neckline, per metre.
        hair_back: distance of long hair behind the head's centre, metres.
        jacket_gap: half width of the open front at the hips, metres.
    """

    sleeve_end: float = 1.9
    top_hem: float = -0.1
    top_leg_end: float = 0.1
    neckline: float = 0.95
    neckline_depth: float = 0.0
    waist: float = 0.2
    trouser_end: float = 1.95
    shoe_top: float = 1.95
    sock_top: float = 1.8
    glove_start: float = ENDLESS
    hairline_front: float = -0.6
    hairline_side: float = 0.0
    hairline_back: float = 0.5
    hair_length: float = ENDLESS
    beard: float = 0.0
    neckline_slope: float = 4.0
    hair_back: float = 0.03
    jacket_gap: float = 0.0

    def as_array(self) -> FloatArray:
        """(24,) for the shader, padded with zeros."""
        values = np.zeros(24, np.float32)
        values[: len(fields(self))] = [getattr(self, item.name) for item in fields(self)]
        return values


@dataclass(frozen=True)
class Appearance:
    """Materials of one person, for all of `MATERIALS`, and the borders between them.

    Args:
        base_colour: (8, 4) first colour of each material (sRGB, 0…1), and index into `PATTERNS`.
        second_colour: (8, 4) second colour, and scale of the pattern per metre.
        direction: (8, 4) unit direction of the pattern in rest space, and its phase.
        finish: (8, 4) gloss, wrinkle amplitude, looseness in metres, grain.
        eye_colour: (3,) iris.
        lip_colour: (3,) lips.
        noise_seed: seed of the shader's noise, 0…1.
        fold_mix: (4,) amplitudes of the four fold patterns of loose cloth.
    """

    base_colour: FloatArray
    second_colour: FloatArray
    direction: FloatArray
    finish: FloatArray
    borders: Borders
    eye_colour: FloatArray
    lip_colour: FloatArray
    noise_seed: float
    fold_mix: FloatArray


@dataclass(frozen=True)
class Light:
    """Three directional lights and hemispherical ambient light; intensities are linear.

    Args:
        directions: (3, 3) unit vectors towards the lights, camera space.
        colours: (3, 3) RGB intensity of each.
        sky: (3,) ambient light from above.
        ground: (3,) ambient light from below.
    """

    directions: FloatArray
    colours: FloatArray
    sky: FloatArray
    ground: FloatArray


def sample_light(rng: Generator) -> Light:
    """Random hardness, colour and directions, mostly from above and from the front."""
    directions = rng.normal(size=(3, 3)).astype(np.float32) + np.array([0, -0.9, -0.7], np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    hardness = rng.beta(1.6, 1.6)
    strength = np.array([1.0, rng.uniform(0, 0.5), rng.uniform(0, 0.3)], np.float32) * hardness
    colours = strength[:, None] * (1 + rng.normal(0, 0.08, (3, 3)) + np.outer(rng.normal(0, 0.1, 3), [1, 0, -1]))
    ambient = (1.25 - hardness) * rng.uniform(0.45, 0.8)
    sky = ambient * (1 + rng.normal(0, 0.06, 3))
    ground = ambient * rng.uniform(0.25, 0.9) * (1 + rng.normal(0, 0.1, 3))
    clean = [np.clip(part, 0, 2).astype(np.float32) for part in (colours, sky, ground)]
    return Light(directions, clean[0], clean[1], clean[2])


# Black, white and grey: the share of colours up to here, the range of brightness, and the spread of channels.
_GREYS = ((0.13, (0.02, 0.16), 0.008), (0.26, (0.84, 0.98), 0.012), (0.36, (0.2, 0.8), 0.015))


def fabric_colour(rng: Generator) -> FloatArray:
    """A random colour of clothes: 36 % black, white or grey, 10 % navy or denim, the rest any hue."""
    kind = rng.random()
    for share, (darkest, lightest), spread in _GREYS:
        if kind < share:
            return (rng.uniform(darkest, lightest) + rng.normal(0, spread, 3)).clip(0, 1).astype(np.float32)
    if kind < 0.46:
        navy = np.array([0.14, 0.2, 0.36], np.float32) * rng.uniform(0.5, 1.9)
        return (navy + rng.normal(0, 0.02, 3)).clip(0, 1).astype(np.float32)
    saturation, value = rng.beta(1.6, 2.0), rng.uniform(0.15, 1.0)
    return np.array(hsv_to_rgb(rng.random(), saturation, value), np.float32)


def _stripe_direction(rng: Generator) -> FloatArray:
    """A unit direction of stripes, mostly across or along the body."""
    axis = np.array([[0, 1, 0], [1, 0, 0], [0.7, 0.7, 0]], np.float32)[rng.choice(3, p=[0.5, 0.3, 0.2])]
    axis = axis + rng.normal(0, 0.06, 3)
    return np.asarray(axis / np.linalg.norm(axis), np.float32)


def sample_appearance(rng: Generator) -> Appearance:
    """A random person's skin, hair and painted clothes."""
    base, second = np.zeros((8, 4), np.float32), np.zeros((8, 4), np.float32)
    direction, finish = np.zeros((8, 4), np.float32), np.zeros((8, 4), np.float32)
    for material in range(len(MATERIALS)):
        base[material, :3], second[material, :3] = fabric_colour(rng), fabric_colour(rng)
        base[material, 3] = rng.choice(len(PATTERNS), p=[0.46, 0.12, 0.1, 0.1, 0.08, 0.09, 0.05])
        second[material, 3] = np.exp(rng.uniform(np.log(5), np.log(30)))
        direction[material] = [*_stripe_direction(rng), rng.random()]
        finish[material] = [rng.uniform(0, 0.08), rng.uniform(0.3, 1.6), 0.0, rng.uniform(0, 0.3)]
    skin = _skin(rng)
    base[SKIN], base[HAIR] = [*skin, 0], [*_hair(rng), PATTERNS.index("denim")]
    second[HAIR] = [*(base[HAIR, :3] * rng.uniform(0.5, 1.5)).clip(0, 1), 9]
    finish[SKIN] = [rng.uniform(0, 0.14), 0, 0, rng.uniform(0, 0.12)]
    finish[HAIR, 0] = rng.uniform(0, 0.15)
    base[[SHOES, SOCKS, GLOVES], 3] = 0
    borders = _dress(rng, base, second)
    borders = _hair_style(rng, borders, base, finish)
    if rng.random() >= 0.5:
        # Half of the people have loose clothes, up to 30 mm off the body.
        finish[[TOP, INNER], 2] = rng.uniform(0, 0.03)
        finish[BOTTOM, 2] = rng.uniform(0, 0.026)
        finish[SHOES, 2] = rng.uniform(0, 0.012)
    iris = _IRISES[rng.choice(len(_IRISES), p=[0.5, 0.25, 0.15, 0.1])]
    red = np.array([0.72, 0.28, 0.28] if rng.random() < 0.6 else [0.8, 0.1, 0.16], np.float32)
    lips = np.asarray(skin * 0.6 + red * 0.4 * skin.mean() / 0.6, np.float32).clip(0, 1)
    folds = rng.random(), rng.normal(0, 0.25, 4).astype(np.float32)
    return Appearance(base, second, direction, finish, borders, iris, lips, *folds)


def _skin(rng: Generator) -> FloatArray:
    position = rng.uniform(0, len(_SKIN_TONES) - 1)
    tone = _SKIN_TONES[int(position)] * (1 - position % 1) + _SKIN_TONES[int(position) + 1] * (position % 1)
    return np.asarray(np.clip(tone / 255 * (1 + rng.normal(0, 0.04, 3)), 0, 1), np.float32)


def _hair(rng: Generator) -> FloatArray:
    if rng.random() < 0.03:
        return fabric_colour(rng)
    tone = _HAIR_COLOURS[rng.choice(len(_HAIR_COLOURS), p=_HAIR_SHARES / _HAIR_SHARES.sum())] / 255
    return np.asarray(np.clip(tone * rng.uniform(0.7, 1.3) + rng.normal(0, 0.012, 3), 0, 1), np.float32)


def _dress(rng: Generator, base: FloatArray, second: FloatArray) -> Borders:
    """Samples the borders of an outfit, and copies colours between materials that match (a suit, bare legs)."""
    sleeve = rng.choice([-0.5, rng.uniform(0.25, 0.8), rng.uniform(0.8, 1.5), 1.92], p=[0.1, 0.37, 0.11, 0.42])
    trousers = rng.choice([rng.uniform(0.1, 0.45), rng.uniform(0.5, 1.0), rng.uniform(1.1, 1.8), 1.97],
                          p=[0.1, 0.17, 0.1, 0.63])  # fmt: skip
    borders = Borders(
        sleeve_end=sleeve,
        top_hem=rng.uniform(-0.2, 0.2),
        top_leg_end=rng.uniform(0.0, 0.25),
        neckline=rng.uniform(0.9, 1.08),
        neckline_depth=rng.choice([0.0, rng.uniform(0.05, 0.35)]),
        neckline_slope=rng.uniform(1.5, 6),
        waist=rng.uniform(0.12, 0.3),
        trouser_end=trousers,
        shoe_top=rng.choice([1.97, rng.uniform(1.8, 1.95), rng.uniform(1.2, 1.7)], p=[0.65, 0.2, 0.15]),
        sock_top=rng.uniform(1.3, 1.95),
        jacket_gap=rng.choice([0.0, rng.uniform(0.01, 0.12)], p=[0.75, 0.25]),
        glove_start=rng.choice([ENDLESS, rng.uniform(1.75, 1.98)], p=[0.95, 0.05]),
    )
    kind = rng.random()
    if kind < 0.14:  # a dress or a long shirt
        borders = replace(borders, top_hem=-1.0, top_leg_end=rng.uniform(0.3, 1.8))
        if rng.random() < 0.6:
            base[BOTTOM], borders = base[SKIN], replace(borders, sock_top=ENDLESS)
    elif kind < 0.26:  # one fabric: a suit, an overall, a track suit, a uniform
        base[BOTTOM], second[BOTTOM] = base[TOP], second[TOP]
    elif kind < 0.3:  # swimwear
        borders = replace(borders, sock_top=ENDLESS, shoe_top=ENDLESS, trouser_end=rng.uniform(0.05, 0.5), waist=0.1)
        if rng.random() < 0.5:
            borders = replace(borders, sleeve_end=-1.0, neckline=-2.0, neckline_depth=0.0)
    if rng.random() < 0.06:
        borders = replace(borders, shoe_top=ENDLESS, sock_top=ENDLESS)
    if rng.random() < 0.3:
        base[SHOES, :3] = rng.uniform(0.02, 0.15)
    return borders


def _hair_style(rng: Generator, borders: Borders, base: FloatArray, finish: FloatArray) -> Borders:
    """Samples bald, short, medium or long hair or a cap, and sometimes a beard."""
    kind = rng.random()
    front = rng.uniform(-0.72, -0.42)
    beard = rng.uniform(0.3, 0.62) if rng.random() < 0.14 else 0.0
    borders = replace(borders, hairline_front=front, beard=beard)
    if kind < 0.07:
        finish[HAIR, 2] = 0.0
        return replace(borders, hairline_front=-2, hairline_side=-2.0, hairline_back=-2.0)
    if kind < 0.17:  # a cap, a beanie, a helmet
        base[HAIR] = [*fabric_colour(rng), rng.choice([0, 0, 0, 1, 6])]
        level = rng.uniform(-0.5, -0.2)
        finish[HAIR, 2] = rng.uniform(0.008, 0.035)
        return replace(
            borders, hairline_front=level, hairline_side=level + rng.uniform(0, 0.3), hairline_back=level + 0.3
        )
    if kind < 0.55:  # short
        finish[HAIR, 2] = rng.uniform(0.002, 0.018)
        return replace(borders, hairline_side=rng.uniform(-0.25, 0.1), hairline_back=rng.uniform(0.1, 0.6))
    finish[HAIR, 2] = rng.uniform(0.008, 0.035)
    if kind < 0.75:  # over the ears
        return replace(borders, hairline_side=rng.uniform(0.1, 0.7), hairline_back=rng.uniform(0.7, 1.2), beard=0.0)
    return replace(
        borders,
        hairline_side=rng.uniform(0.3, 0.9),
        hairline_back=2.0,
        hair_length=rng.uniform(0.5, 1.05),
        hair_back=rng.uniform(0.0, 0.06),
        beard=0.0,
    )
