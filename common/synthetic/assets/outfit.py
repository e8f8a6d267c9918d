"""Samples outfits: garments from the wardrobe with their fabrics."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from common.synthetic.assets.appearance import (
    BOTTOM,
    HAIR,
    INNER,
    PATTERNS,
    SHOES,
    TOP,
    Appearance,
    Borders,
    fabric_colour,
)
from common.synthetic.assets.garment import Garment
from common.synthetic.assets.garment_files import Kind
from common.synthetic.assets.wardrobe import Wardrobe

# Borders beyond all coordinates.
_EVERYWHERE, _NOWHERE = 99.0, -99.0

# A suit has the material top above the waist and bottom below it, never skin; other garments have one material.
_SUIT = Borders(
    sleeve_end=_EVERYWHERE,
    top_leg_end=_EVERYWHERE,
    neckline=_EVERYWHERE,
    waist=_EVERYWHERE,
    trouser_end=_EVERYWHERE,
    shoe_top=_EVERYWHERE,
    sock_top=_EVERYWHERE,
    hair_length=_EVERYWHERE,
)
_BORDERS: dict[Kind, Borders] = {
    Kind.SUIT: _SUIT,
    Kind.SHOES: replace(_SUIT, shoe_top=_NOWHERE),
    Kind.HAIR: Borders(hairline_front=_EVERYWHERE, hairline_side=_EVERYWHERE, hairline_back=_EVERYWHERE),
    Kind.HAT: Borders(hairline_front=_EVERYWHERE, hairline_side=_EVERYWHERE, hairline_back=_EVERYWHERE),
}


@dataclass(frozen=True, eq=False)
class Outfit:
    """The clothes of one person.

    Args:
        body: appearance of the body itself: skin, and painted clothes in place of garments that are not worn.
        garments: garments, each with its appearance.
    """

    body: Appearance
    garments: tuple[tuple[Garment, Appearance], ...]


def choose_outfit(rng: Generator, wardrobe: Wardrobe, painted: Appearance) -> Outfit:
    """Samples a suit (85 %), shoes (75 %) and a hat (15 %) or hair; everything else remains painted.

    Args:
        painted: the same person in painted clothes, which gives skin tone, hair colour and fabrics.
    """
    if rng.random() >= 0.85:
        return add_accessories(rng, wardrobe, painted, Outfit(painted, ()))
    suit = pick(rng, wardrobe.garments[Kind.SUIT])
    garments = ((suit, paint_suit(rng, painted)),)
    return add_accessories(rng, wardrobe, painted, Outfit(undressed(painted), garments))


def undressed(painted: Appearance) -> Appearance:
    """The body under garments, painted as skin, which shows where the garments are short or open."""
    borders = replace(painted.borders, sleeve_end=-1.0, neckline=-2.0, neckline_depth=0.0, trouser_end=0.05, waist=0.1)
    return replace(painted, borders=replace(borders, top_hem=_EVERYWHERE))


def add_accessories(rng: Generator, wardrobe: Wardrobe, painted: Appearance, outfit: Outfit) -> Outfit:
    """The outfit with shoes (75 %), and a hat (15 %) or hair."""
    garments, borders, finish = list(outfit.garments), outfit.body.borders, painted.finish.copy()
    if rng.random() < 0.75:
        garments.append((pick(rng, wardrobe.garments[Kind.SHOES]), paint(painted, Kind.SHOES)))
        borders = replace(borders, shoe_top=_EVERYWHERE)
    bald = borders.hairline_front <= -1.0
    if rng.random() < 0.15:
        hat = painted.base_colour.copy()
        hat[HAIR] = [*fabric_colour(rng), PATTERNS.index("plain")]
        garments.append((pick(rng, wardrobe.garments[Kind.HAT]), replace(paint(painted, Kind.HAT), base_colour=hat)))
    elif not bald and rng.random() < 0.8:
        garments.append((pick(rng, wardrobe.garments[Kind.HAIR]), paint(painted, Kind.HAIR)))
        # Painted hair on the skull must not protrude through the hair mesh.
        finish[HAIR, 2] = 0.0
        borders = replace(borders, hair_length=_EVERYWHERE)
    return Outfit(replace(painted, borders=borders, finish=finish), tuple(garments))


def pick(rng: Generator, garments: Sequence[Garment]) -> Garment:
    """One of the garments."""
    return garments[int(rng.integers(len(garments)))]


def paint(painted: Appearance, kind: Kind) -> Appearance:
    """The person's materials on a garment of one kind, without looseness: the garment is a mesh of its own."""
    finish = painted.finish.copy()
    finish[:, 2] = 0.0
    return replace(painted, borders=_BORDERS[kind], finish=finish)


def paint_suit(rng: Generator, painted: Appearance) -> Appearance:
    """Top and bottom of two fabrics or one, up to a centimetre looser, with stronger wrinkles."""
    suit = paint(painted, Kind.SUIT)
    finish = suit.finish.copy()
    finish[[TOP, BOTTOM, INNER], 1] = rng.uniform(0.4, 2.0, 3)
    finish[[TOP, BOTTOM], 2] = rng.uniform(0.0, 0.01) if rng.random() < 0.4 else 0.0
    borders = replace(suit.borders, top_hem=rng.uniform(-0.15, 0.2), jacket_gap=painted.borders.jacket_gap)
    base, second = suit.base_colour.copy(), suit.second_colour.copy()
    if rng.random() < 0.25:
        base[BOTTOM], second[BOTTOM] = base[TOP], second[TOP]
    if np.array_equal(base[BOTTOM], painted.base_colour[0]):  # a dress over bare legs has no trousers
        base[BOTTOM] = [*fabric_colour(rng), 0]
    base[SHOES, 3] = 0
    return replace(suit, borders=borders, finish=finish, base_colour=base, second_colour=second)
