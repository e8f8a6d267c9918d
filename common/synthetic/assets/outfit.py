"""Outfits: garments with their fabrics, over a painted body."""

from dataclasses import dataclass, replace

from common.synthetic.assets.appearance import Appearance, Borders
from common.synthetic.assets.garment import Garment
from common.synthetic.assets.garment_files import Kind

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


def undressed(painted: Appearance) -> Appearance:
    """The body under garments, painted as skin, which shows where the garments are short or open."""
    borders = replace(painted.borders, sleeve_end=-1.0, neckline=-2.0, neckline_depth=0.0, trouser_end=0.05, waist=0.1)
    return replace(painted, borders=replace(borders, top_hem=_EVERYWHERE))


def paint(painted: Appearance, kind: Kind) -> Appearance:
    """The person's materials on a garment of one kind, without looseness: the garment is a mesh of its own."""
    finish = painted.finish.copy()
    finish[:, 2] = 0.0
    return replace(painted, borders=_BORDERS[kind], finish=finish)
