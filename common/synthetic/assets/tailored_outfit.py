"""Samples outfits of altered and made garments: thousands of variants of the wardrobe."""

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from common.synthetic.assets.alteration import tailor
from common.synthetic.assets.appearance import BOTTOM, INNER, TOP, Appearance, fabric_colour
from common.synthetic.assets.garment import Garment, Tailoring
from common.synthetic.assets.garment_files import Kind
from common.synthetic.assets.outfit import Outfit, add_accessories, choose_outfit, paint, paint_suit, pick, undressed
from common.synthetic.assets.wardrobe import Wardrobe
from common.synthetic.dataset.presets import DatasetPreset

_EVERYWHERE, _NOWHERE = 99.0, -99.0
# Garments of the wardrobe end before hands and feet; the made suit has to be cut there.
_LAST_SLEEVE, _LAST_LEG = 1.85, 1.88

Piece = tuple[Garment, Appearance]


def sample_outfit(rng: Generator, wardrobe: Wardrobe, painted: Appearance, preset: DatasetPreset) -> Outfit:
    """An outfit of a preset: garments for the share `preset.dressed` of the people, else painted clothes alone."""
    if rng.random() >= preset.dressed:
        return Outfit(painted, ())
    if preset.tailored and rng.random() < preset.tailored:
        return choose_tailored_outfit(rng, wardrobe, painted)
    return choose_outfit(rng, wardrobe, painted)


def choose_tailored_outfit(rng: Generator, wardrobe: Wardrobe, painted: Appearance) -> Outfit:
    """Samples an altered suit, top and bottom, dress or coat, then shoes and a hat or hair as `choose_outfit` does."""
    kind = rng.random()
    body = undressed(painted)
    if kind < 0.25:
        garments = [_suit(rng, wardrobe, painted)]
    elif kind < 0.7:
        garments = [_bottom(rng, wardrobe, painted), _top(rng, wardrobe, painted)]
    elif kind < 0.85:
        garments = _dress(rng, wardrobe, painted)
    else:
        garments = [_bottom(rng, wardrobe, painted), *_coat(rng, wardrobe, painted)]
    if any(garment.tailoring and garment.tailoring.opening_m for garment, _ in garments):
        # A painted shirt under an open front.
        body = replace(body, borders=replace(body.borders, neckline=painted.borders.neckline, top_hem=0.0))
    return add_accessories(rng, wardrobe, painted, Outfit(body, tuple(garments)))


def _suit(rng: Generator, wardrobe: Wardrobe, painted: Appearance) -> Piece:
    """A whole suit, altered but in one piece."""
    garment = pick(rng, (*wardrobe.garments[Kind.SUIT], wardrobe.suit))
    made = garment is wardrobe.suit
    tailoring = Tailoring(
        loose_m=_looseness(rng),
        sleeve_flare_m=_flare(rng, 0.02),
        leg_flare_m=_flare(rng, 0.03),
        sleeve_end=_end(rng, 0.25, _LAST_SLEEVE, always=made),
        leg_end=_end(rng, 0.2, _LAST_LEG, always=made),
    )
    return tailor(garment, wardrobe.canvas, _rounded(tailoring)), paint_suit(rng, painted)


def _top(rng: Generator, wardrobe: Wardrobe, painted: Appearance) -> Piece:
    """A shirt, pullover or jacket, over the bottom's waist."""
    garment = pick(rng, (*wardrobe.garments[Kind.SUIT], *(wardrobe.suit,) * 4))
    tailoring = Tailoring(
        loose_m=0.004 + max(_looseness(rng), 0.0),
        sleeve_flare_m=_flare(rng, 0.025),
        sleeve_puff_m=_flare(rng, 0.03, 0.15),
        sleeve_end=_end(rng, 0.2, _LAST_SLEEVE, always=garment is wardrobe.suit),
        hem=rng.uniform(-0.12, 0.2),
        opening_m=rng.uniform(0.01, 0.06) if rng.random() < 0.25 else 0.0,
    )
    return tailor(garment, wardrobe.canvas, _rounded(tailoring)), _fabric(rng, painted, TOP)


def _bottom(rng: Generator, wardrobe: Wardrobe, painted: Appearance) -> Piece:
    """Trousers, shorts or a skirt."""
    waist = rng.uniform(0.2, 0.3)
    if rng.random() < 0.2:
        return _skirt(rng, wardrobe, painted, waist, BOTTOM)
    suits = [item for item in wardrobe.garments[Kind.SUIT] if item.limb[:, 1].max() > 1.0]
    garment = pick(rng, (*suits, *(wardrobe.suit,) * 3))
    tailoring = Tailoring(
        loose_m=_looseness(rng),
        leg_flare_m=_flare(rng, 0.05),
        leg_end=_end(rng, 0.2, _LAST_LEG, always=garment is wardrobe.suit),
        waist=waist,
    )
    return tailor(garment, wardrobe.canvas, _rounded(tailoring)), _fabric(rng, painted, BOTTOM)


def _skirt(rng: Generator, wardrobe: Wardrobe, painted: Appearance, waist: float, material: int) -> Piece:
    tailoring = Tailoring(
        loose_m=rng.uniform(-0.004, 0.015),
        leg_flare_m=_flare(rng, 0.1, 0.6),
        leg_end=rng.uniform(0.35, 1.7),
        waist=waist,
    )
    return tailor(wardrobe.skirt, wardrobe.canvas, _rounded(tailoring)), _fabric(rng, painted, material)


def _dress(rng: Generator, wardrobe: Wardrobe, painted: Appearance) -> list[Piece]:
    """A top and a skirt of one fabric."""
    skirt = _skirt(rng, wardrobe, painted, rng.uniform(0.1, 0.3), TOP)
    tailoring = Tailoring(
        loose_m=rng.uniform(0.0, 0.012),
        sleeve_flare_m=_flare(rng, 0.02),
        sleeve_puff_m=_flare(rng, 0.03, 0.3),
        sleeve_end=rng.uniform(0.15, _LAST_SLEEVE),
        hem=rng.uniform(0.0, 0.1),
    )
    return [skirt, (tailor(wardrobe.suit, wardrobe.canvas, _rounded(tailoring)), skirt[1])]


def _coat(rng: Generator, wardrobe: Wardrobe, painted: Appearance) -> list[Piece]:
    """A long open or closed coat: a loose top whose tails are a skirt of the same width and fabric."""
    loose_m, opening_m = rng.uniform(0.012, 0.03), float(rng.choice([0.0, rng.uniform(0.01, 0.06)]))
    top = Tailoring(loose_m=loose_m, sleeve_end=rng.uniform(1.7, _LAST_SLEEVE), hem=0.02, opening_m=opening_m)
    tails = Tailoring(
        loose_m=loose_m,
        leg_flare_m=_flare(rng, 0.05),
        leg_end=rng.uniform(0.3, 1.2),
        waist=0.06,
        opening_m=opening_m,
    )
    fabric, canvas = _fabric(rng, painted, TOP), wardrobe.canvas
    pieces = ((wardrobe.skirt, tails), (wardrobe.suit, top))
    return [(tailor(garment, canvas, _rounded(tailoring)), fabric) for garment, tailoring in pieces]


def _fabric(rng: Generator, painted: Appearance, material: int) -> Appearance:
    """A garment of one material, with random wrinkles."""
    fabric = paint(painted, Kind.SUIT)
    finish, base = fabric.finish.copy(), fabric.base_colour.copy()
    finish[[TOP, BOTTOM, INNER], 1] = rng.uniform(0.4, 2.0)
    if np.array_equal(base[material], painted.base_colour[0]):  # bare legs
        base[material] = [*fabric_colour(rng), 0]
    top_hem = _NOWHERE if material == TOP else _EVERYWHERE
    return replace(fabric, finish=finish, base_colour=base, borders=replace(fabric.borders, top_hem=top_hem))


def _looseness(rng: Generator) -> float:
    return float(rng.choice([0.0, rng.uniform(-0.003, 0.006), rng.uniform(0.0, 0.025)], p=[0.3, 0.3, 0.4]))


def _flare(rng: Generator, most: float, share: float = 0.35) -> float:
    return float(rng.uniform(0, most)) if rng.random() < share else 0.0


def _end(rng: Generator, first: float, last: float, always: bool) -> float:
    """Where sleeves or legs end: anywhere for 45 % of the garments, else at the end."""
    if rng.random() < 0.45:
        return float(rng.uniform(first, last))
    return last if always else _EVERYWHERE


def _rounded(tailoring: Tailoring) -> Tailoring:
    """The same in 32 bits, so that a stored outfit is made again exactly."""
    return Tailoring.from_array(tailoring.as_array())
