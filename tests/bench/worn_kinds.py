"""What kinds of clothes an outfit of the rendered data sets shows, told from the garments' geometry and paint."""

from collections.abc import Mapping, Sequence

import numpy as np

from common.arrays import FloatArray
from common.synthetic.assets.appearance import BOTTOM, HAIR, TOP, Appearance
from common.synthetic.assets.garment import Garment
from common.synthetic.assets.garment_files import Kind
from common.synthetic.assets.outfit import Outfit
from common.wear_kinds import VALUES
from common.wears import Wears
from receiver.outfits.mixture import PLAIN

# Along the arm (0 shoulder, 2 wrist) and the leg (0 hip, 2 ankle): the longest of each value.
_SLEEVES = ((-0.2, "bare"), (0.2, "sleeveless"), (1.25, "short"), (9.0, "long"))
_LEGS = ((0.12, "brief"), (0.78, "shorts"), (1.45, "knee"), (9.0, "trousers"))
_SKIRTS = ((1.1, "skirt_short"), (9.0, "skirt_long"))
_FITS_M = ((0.003, "tight"), (0.013, "regular"), (9.0, "loose"))
_HAIR = {"short": "short", "afro": "short", "bob": "medium", "long": "long", "ponyt": "tied", "braid": "tied"}
_TRUNK, _SHOE, _BOOT = 0.6, 1.99, 1.8
_SURE = 0.8


def softened(kinds: Mapping[str, str]) -> Wears:
    """A posterior as a reader gives it: mostly the true values."""
    posterior = dict(PLAIN.posterior)
    for name, value in kinds.items():
        values = VALUES[name]
        shares = np.full(len(values), (1 - _SURE) / (len(values) - 1), np.float32)
        shares[values.index(value)] = _SURE
        posterior[name] = shares
    return Wears(posterior)


def kinds_of(outfit: Outfit) -> dict[str, str]:
    """Attribute → its value."""
    of_kind = {kind: [each for each, _ in outfit.garments if each.kind is kind] for kind in Kind}
    clothes = _garments(of_kind[Kind.SUIT], outfit) if of_kind[Kind.SUIT] else _painted(outfit.body)
    top = outfit.body.borders.shoe_top
    painted_shoes = "boots" if top < _BOOT else "shoes" if top < _SHOE else "barefoot"
    return {
        "hair": _hair(of_kind[Kind.HAIR], outfit.body),
        "headwear": "hat" if of_kind[Kind.HAT] else "none",
        **clothes,
        "shoes": "shoes" if of_kind[Kind.SHOES] else painted_shoes,
    }


def _garments(pieces: Sequence[Garment], outfit: Outfit) -> dict[str, str]:
    tops = [each for each in pieces if _limb(each)[:, 2].max() > _TRUNK]
    below = [each for each in pieces if each not in tops]
    top, skirts = tops[0], [each for each in below if each.name == "made_skirt"]
    paints = {id(paint) for garment, paint in outfit.garments if garment.kind is Kind.SUIT}
    # Skirt and top of one fabric are a dress; with something beneath, the skirt is the tails of a coat.
    one_fabric = len(paints) < len(pieces)
    layer = "coat" if one_fabric and len(below) > 1 else "dress" if one_fabric and skirts else "top"
    if layer == "top" and top.tailoring and top.tailoring.opening_m > 0:
        layer = "jacket"
    bottom = below[0] if below else top
    ends = _SKIRTS if bottom in skirts else _LEGS
    return {
        "sleeve": _value(_SLEEVES[1:], float(np.quantile(_limb(top)[:, 0], 0.995))),
        "layer": layer,
        "bottom": _value(ends, float(np.quantile(_limb(bottom)[:, 1], 0.99))),
        "top_fit": _fit(top),
        "bottom_fit": _fit(bottom),
    }


def _painted(body: Appearance) -> dict[str, str]:
    borders = body.borders
    top_fit, bottom_fit = (_value(_FITS_M, float(body.finish[row, 2])) for row in (TOP, BOTTOM))
    bare = borders.neckline < 0
    leg_end = max(borders.trouser_end, borders.top_leg_end)
    return {
        "sleeve": "bare" if bare else _value(_SLEEVES[1:], borders.sleeve_end),
        "layer": "none" if bare else "top",
        "bottom": _value(_LEGS, leg_end),
        "top_fit": top_fit,
        "bottom_fit": bottom_fit,
    }


def _hair(garments: Sequence[Garment], body: Appearance) -> str:
    if garments:
        return next(value for start, value in _HAIR.items() if garments[0].name.startswith(start))
    if body.borders.hairline_front <= -1 or body.finish[HAIR, 2] <= 0:
        return "bald"
    if body.borders.hair_length < 2:
        return "long" if body.borders.hair_length < 0.9 else "medium"
    return "short"


def _fit(garment: Garment) -> str:
    """As `common.synthetic.kinds` names it: how far a garment is let out."""
    return _value(_FITS_M, garment.tailoring.loose_m if garment.tailoring else 0.0)


def _limb(garment: Garment) -> FloatArray:
    return np.asarray(garment.limb[np.unique(garment.faces)], np.float32)


def _value(ends: Sequence[tuple[float, str]], place: float) -> str:
    return next(value for end, value in ends if place <= end)
