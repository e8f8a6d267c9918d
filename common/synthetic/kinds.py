"""Samples outfits of known kinds: garments of the wardrobe in sizes and colours, and headwear made to measure.

Each value that `common.wears` names occurs often enough to learn it.  A kind is a set of values: the length of a sleeve
between two values is compatible with both.

Shapes: V vertices of the body, N of a garment; heights on the head are −1 at the crown and 1 at the chin.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.random import Generator
from scipy.spatial import cKDTree

from common.arrays import FloatArray
from common.synthetic.assets.appearance import (
    BOTTOM,
    ENDLESS,
    HAIR,
    INNER,
    PATTERNS,
    SKIN,
    TOP,
    Appearance,
    fabric_colour,
)
from common.synthetic.assets.garments import (
    Canvas,
    Garment,
    Kind,
    Outfit,
    SkinBasis,
    Tailoring,
    fastened,
    grid_faces,
    inflated,
    paint,
    tailor,
    undressed,
)
from common.synthetic.assets.wardrobe import Wardrobe

# Least and most thickness of each kind, metres, and how often it is smoothed.
_THICKNESS_M = {
    "cap": (0.015, 0.028),
    "helmet": (0.025, 0.05),
    "hat": (0.015, 0.03),
    "beanie": (0.012, 0.025),
    "hood": (0.02, 0.04),
    "scarf": (0.01, 0.02),
}
_SMOOTHINGS = {"cap": 6, "helmet": 20, "hat": 8, "beanie": 6, "hood": 8, "scarf": 4}
_BRIM_STEPS, _BRIM_RINGS = 24, 3
# Hoods and scarves leave the face free: this far to the sides, in head radii, and from this height.
_FACE_WIDTH = 0.62
_NECK = 0.93


def made_headwear(rng: Generator, skin: SkinBasis, value: str) -> list[Garment]:
    """One or two garments that together are headwear of a kind but `none`."""
    canvas = skin.canvas
    place = head_place(canvas, canvas.rest)
    level = _rim(rng, value, place)
    wraps = value in ("hood", "scarf")
    inside = (canvas.limb[:, 3] > 0.5) & (place[:, 1] < level)
    if wraps:
        neck = (canvas.limb[:, 3] <= 0.5) & (canvas.limb[:, 2] > _NECK) & (canvas.limb[:, 0] <= 0)
        face_top = rng.uniform(-0.62, -0.4)
        face = (place[:, 2] < -0.1) & (np.abs(place[:, 0]) < _FACE_WIDTH) & (place[:, 1] > face_top)
        inside = (inside | neck) & ~(face & (canvas.limb[:, 3] > 0.5))
    shell = _shell(skin, inside, value, rng.uniform(*_THICKNESS_M[value]))
    if value == "cap":
        return [shell, _brim(skin, rng, shell, width=rng.uniform(0.045, 0.075), half_angle=rng.uniform(0.7, 1.0))]
    if value == "hat" or (value == "helmet" and rng.random() < 0.25):
        return [shell, _brim(skin, rng, shell, width=rng.uniform(0.03, 0.11), half_angle=np.pi)]
    return [shell]


def beneath(hair: Garment, canvas: Canvas, value: str) -> Garment:
    """Hair under headwear: without what would be inside it."""
    place = head_place(canvas, hair.rest)
    level = np.where(place[:, 2] < 0, -0.35, 0.05) if value in ("cap", "hat") else 0.25
    kept = hair.faces[(place[:, 1] > level)[hair.faces].all(axis=1)]
    return replace(hair, faces=kept)


def head_place(canvas: Canvas, rest: FloatArray) -> FloatArray:
    """(N, 3) positions around the centre of the head, in its radii."""
    return np.asarray((rest - canvas.face[3]) / canvas.head_radius, np.float32)


def _rim(rng: Generator, value: str, place: FloatArray) -> FloatArray:
    """(V,) the height to which headwear reaches, by the place on the head."""
    front, back = {
        "cap": (rng.uniform(-0.5, -0.3), rng.uniform(-0.1, 0.2)),
        "helmet": (rng.uniform(-0.5, -0.3), rng.uniform(0.1, 0.7)),
        "hat": (rng.uniform(-0.5, -0.3), rng.uniform(-0.3, 0.0)),
        "beanie": (rng.uniform(-0.55, -0.3), rng.uniform(0.0, 0.4)),
        "hood": (2.0, 2.0),
        "scarf": (2.0, 2.0),
    }[value]
    return np.asarray(np.interp(place[:, 2], [-0.8, -0.2, 0.5], [front, (front + back) / 2, back]), np.float32)


def _shell(skin: SkinBasis, inside: np.ndarray[tuple[int], np.dtype[np.bool_]], value: str, height_m: float) -> Garment:
    canvas = skin.canvas
    faces = canvas.faces[inside[canvas.faces].all(axis=1)]
    used, compact = np.unique(faces, return_inverse=True)
    faces = compact.reshape(-1, 3)
    surface = inflated(canvas.rest[used], faces, height_m, 0.6 * height_m, _SMOOTHINGS[value])
    return fastened(skin, f"made_{value}", Kind.HAT, used, surface, faces)


def _brim(skin: SkinBasis, rng: Generator, shell: Garment, width: float, half_angle: float) -> Garment:
    """A part of a ring around the front of the shell's rim."""
    canvas = skin.canvas
    angles = np.linspace(-half_angle, half_angle, _BRIM_STEPS)
    place = head_place(canvas, shell.rest)
    around = np.arctan2(place[:, 0], -place[:, 2])
    droop = rng.uniform(-0.05, 0.35)
    rows = []
    for angle in angles:
        near = np.abs(np.angle(np.exp(1j * (around - angle)))) < 0.3
        rim = shell.rest[near][np.argmax(shell.rest[near, 1])]
        outward = np.array([np.sin(angle), droop, -np.cos(angle)], np.float32)
        rows.append([rim + outward * width * ring / (_BRIM_RINGS - 1) for ring in range(_BRIM_RINGS)])
    rest = np.asarray(rows, np.float32).reshape(-1, 3)
    faces = grid_faces(_BRIM_STEPS, _BRIM_RINGS, closed=False)
    head = np.flatnonzero(canvas.limb[:, 3] > 0.5)
    nearest = head[cKDTree(canvas.rest[head]).query(shell.rest.mean(axis=0))[1]]
    return fastened(skin, "made_brim", Kind.HAT, np.full(len(rest), nearest), rest, faces)


# Whole sleeves and trousers end beyond the first of these, and most of them beyond the second: at wrist and ankle.
_LONG_SLEEVE, _LONG_LEG = (1.55, 1.85, 2.0), (1.6, 1.93, 2.05)
_WHOLE = 0.9
_LAYERS = {"top": 0.42, "jacket": 0.21, "coat": 0.09, "vest": 0.07, "dress": 0.11, "robe": 0.03, "none": 0.07}
_SLEEVE_OF_LAYER = {"none": "bare", "vest": "sleeveless", "coat": "long", "robe": "long"}
_SLEEVES = {"bare": 0.1, "sleeveless": 0.24, "short": 0.34, "long": 0.32}
_BOTTOMS = {"trousers": 0.4, "knee": 0.16, "shorts": 0.19, "skirt_short": 0.11, "skirt_long": 0.08, "brief": 0.06}
_HAIR = {"bald": 0.1, "short": 0.36, "medium": 0.18, "long": 0.18, "tied": 0.18}
_HEADWEAR = {"none": 0.45, "cap": 0.15, "helmet": 0.12, "hat": 0.09, "beanie": 0.09, "hood": 0.05, "scarf": 0.05}
_SHOES = {"barefoot": 0.2, "sandals": 0.15, "shoes": 0.38, "boots": 0.27}
_FITS = {"tight": 0.25, "regular": 0.4, "loose": 0.35}
_LOOSE_M = {"tight": (-0.003, 0.002), "regular": (0.005, 0.011), "loose": (0.015, 0.032)}
# Along the leg (0 hip, 1 knee, 2 ankle), by value.
_LEG_ENDS = {
    "trousers": (_LONG_LEG[0], _LONG_LEG[2]),
    "knee": (0.85, 1.3),
    "shorts": (0.22, 0.72),
    "skirt_short": (0.3, 0.95),
    "skirt_long": (1.25, 1.85),
    "brief": (0.02, 0.08),
}
# Along the arm (0 shoulder, 1 elbow, 2 wrist).
_SLEEVE_ENDS = {"sleeveless": (0.0, 0.12), "short": (0.3, 0.95), "long": (_LONG_SLEEVE[0], _LONG_SLEEVE[2])}
_LONG_HAIR = {"long": ("long01",), "tied": ("ponytail01", "braid01"), "medium": ("bob01", "bob02")}

Piece = tuple[Garment, Appearance]


class KindSampler:
    """Draws outfits of all kinds, from the wardrobe and from garments made to measure."""

    def __init__(self, wardrobe: Wardrobe) -> None:
        self._wardrobe = wardrobe
        self._hair = {garment.name: garment for garment in wardrobe.garments[Kind.HAIR]}

    def sample(self, rng: Generator, painted: Appearance) -> Outfit:
        """One outfit, with its kinds.

        Args:
            painted: the same person in painted clothes, which gives skin tone, hair colour and fabrics.
        """
        layer, bottom = _drawn(rng, _LAYERS), _drawn(rng, _BOTTOMS)
        if layer in ("dress", "robe"):
            bottom = "skirt_long" if layer == "robe" or rng.random() < 0.35 else "skirt_short"
        if layer == "jacket":
            sleeve = "long" if rng.random() < 0.9 else "short"
        else:
            sleeve = _SLEEVE_OF_LAYER.get(layer) or _drawn(rng, _SLEEVES)
        fits = _drawn(rng, _FITS), _drawn(rng, _FITS)
        body = undressed(painted)
        pieces: list[Piece] = []
        below = self._bottom(rng, painted, bottom, fits[1])
        above, body = self._above(rng, painted, body, layer, sleeve, fits[0], below)
        if layer in ("dress", "robe"):
            # One fabric from the shoulders down.
            below = [(garment, above[0][1]) for garment, _ in below] if above else below
        pieces += below + above
        shoes, worn, body = self._shoes(rng, painted, body)
        head, hair, headwear, body = self._head(rng, painted, body)
        kinds = {
            "hair": hair,
            "headwear": frozenset({headwear}),
            "sleeve": frozenset({sleeve}),
            "layer": frozenset({layer}),
            "bottom": frozenset({bottom}),
            "top_fit": frozenset({fits[0]} if layer not in ("none", "robe", "coat") and above else _FITS),
            "bottom_fit": frozenset({fits[1]} if layer not in ("coat", "robe") and bottom != "brief" else _FITS),
            "shoes": frozenset({shoes}),
        }
        return Outfit(body, tuple(pieces + worn + head), kinds)

    def _above(
        self,
        rng: Generator,
        painted: Appearance,
        body: Appearance,
        layer: str,
        sleeve: str,
        fit: str,
        below: Sequence[Piece],
    ) -> tuple[list[Piece], Appearance]:
        """The upper garments, and the body with what is painted on it."""
        if layer == "none":
            return [], body
        if sleeve == "bare":
            # A tube top, painted: cloth of the torso below the arms.
            borders = replace(body.borders, sleeve_end=-1.0, neckline=rng.uniform(0.55, 0.75), neckline_depth=0.0)
            hem = 0.1 if layer == "dress" or rng.random() < 0.5 else rng.uniform(0.3, 0.45)
            return [], replace(body, borders=replace(borders, top_hem=hem, jacket_gap=0.0, top_leg_end=0.0))
        low, high = _LOOSE_M[fit]
        open_share = {"jacket": 0.6, "vest": 0.5, "coat": 0.5, "robe": 0.1}.get(layer, 0.03)
        opening = rng.uniform(0.01, 0.07) if rng.random() < open_share else 0.0
        thick = {"jacket": 0.008, "coat": 0.014, "vest": 0.008}.get(layer, 0.0)
        hem = {"dress": 0.05, "robe": 0.05, "coat": 0.02}.get(layer, rng.uniform(-0.12, 0.15))
        upper = Tailoring(
            loose_m=rng.uniform(low, high) + thick,
            sleeve_flare_m=rng.uniform(0, 0.02) if rng.random() < 0.3 else 0.0,
            sleeve_end=_end(rng, _SLEEVE_ENDS[sleeve], _LONG_SLEEVE),
            hem=hem,
            opening_m=opening,
        )
        whole = layer in ("top", "jacket") and rng.random() < 0.4
        long_enough = [
            suit for suit in self._wardrobe.garments[Kind.SUIT] if suit.limb[:, 0].max() >= _SLEEVE_ENDS[sleeve][0]
        ]
        garment = _pick(rng, long_enough) if whole else self._wardrobe.suit
        fabric = _fabric(rng, painted, TOP, 0.3 if layer == "jacket" else 1.0)
        pieces = [(tailor(garment, self._wardrobe.canvas, upper), fabric)]
        if layer == "coat":
            tails = Tailoring(
                loose_m=upper.loose_m + 0.004,
                leg_flare_m=rng.uniform(0, 0.06),
                leg_end=rng.uniform(0.4, 1.5),
                waist=0.08,
                opening_m=opening,
            )
            pieces.append((tailor(self._wardrobe.skirt, self._wardrobe.canvas, tails), fabric))
        if opening or layer in ("vest", "jacket", "coat"):
            body = self._shirt(rng, painted, body, layer)
        return pieces, body

    @staticmethod
    def _shirt(rng: Generator, painted: Appearance, body: Appearance, layer: str) -> Appearance:
        """What is under an open front; under a vest the arms may be covered."""
        sleeve_end = body.borders.sleeve_end
        if layer == "vest" and rng.random() < 0.65:
            sleeve_end = rng.choice([rng.uniform(0.3, 0.9), 1.9])
        borders = replace(
            body.borders, neckline=painted.borders.neckline, top_hem=0.0, sleeve_end=sleeve_end, jacket_gap=0.0
        )
        base, second = body.base_colour.copy(), body.second_colour.copy()
        base[TOP] = [*fabric_colour(rng), 0]
        return replace(body, borders=borders, base_colour=base, second_colour=second)

    def _bottom(self, rng: Generator, painted: Appearance, bottom: str, fit: str) -> list[Piece]:
        low, high = _LOOSE_M[fit]
        skirt = bottom.startswith("skirt")
        tailoring = Tailoring(
            loose_m=rng.uniform(low, high),
            leg_flare_m=(rng.uniform(0.0, 0.12) if skirt and fit == "loose" else 0.0)
            + (rng.uniform(0, 0.04) if rng.random() < 0.25 else 0.0),
            leg_end=_end(rng, _LEG_ENDS[bottom], _LONG_LEG),
            waist=rng.uniform(0.2, 0.3) if bottom != "brief" else rng.uniform(0.1, 0.25),
        )
        suits = [item for item in self._wardrobe.garments[Kind.SUIT] if item.limb[:, 1].max() > 1.7]
        whole = not skirt and bottom != "brief" and rng.random() < 0.4
        garment = self._wardrobe.skirt if skirt else _pick(rng, suits) if whole else self._wardrobe.suit
        return [(tailor(garment, self._wardrobe.canvas, tailoring), _fabric(rng, painted, BOTTOM))]

    def _shoes(self, rng: Generator, painted: Appearance, body: Appearance) -> tuple[str, list[Piece], Appearance]:
        value = _drawn(rng, _SHOES)
        borders = replace(body.borders, shoe_top=ENDLESS, sock_top=ENDLESS)
        if value == "barefoot":
            return value, [], replace(body, borders=borders)
        if value == "shoes" and rng.random() < 0.75:
            socks = rng.uniform(1.4, 1.9) if rng.random() < 0.5 else ENDLESS
            shoe = (_pick(rng, self._wardrobe.garments[Kind.SHOES]), paint(painted, Kind.SHOES))
            return value, [shoe], replace(body, borders=replace(borders, sock_top=socks))
        if value == "sandals":
            # Straps: stripes of the sole's colour on skin.
            base, second = body.base_colour.copy(), body.second_colour.copy()
            base[3, 3], second[3] = PATTERNS.index("stripes"), [*body.base_colour[SKIN, :3], rng.uniform(18, 40)]
            direction = body.direction.copy()
            direction[3, :3] = [0.0, 0.3, 0.954]
            strapped = replace(borders, shoe_top=rng.uniform(1.93, 2.0))
            body = replace(body, borders=strapped, base_colour=base, second_colour=second, direction=direction)
            return value, [], body
        finish = body.finish.copy()
        finish[3, 2] = rng.uniform(0.004, 0.012) + (rng.uniform(0.0, 0.012) if value == "boots" else 0.0)
        top = rng.uniform(1.25, 1.82) if value == "boots" else rng.uniform(1.9, 1.97)
        return value, [], replace(body, borders=replace(borders, shoe_top=top), finish=finish)

    def _head(
        self, rng: Generator, painted: Appearance, body: Appearance
    ) -> tuple[list[Piece], frozenset[str], str, Appearance]:
        """Hair and headwear: their pieces, the compatible values of hair, that of headwear, and the body."""
        hair, headwear = _drawn(rng, _HAIR), _drawn(rng, _HEADWEAR)
        pieces, body = self._hair_pieces(rng, painted, body, hair, headwear)
        if headwear == "none":
            return pieces, frozenset({hair}), headwear, body
        covering = headwear in ("hood", "scarf")
        if covering:
            pieces = []
        colours = painted.base_colour.copy()
        colours[HAIR] = [*fabric_colour(rng), rng.choice([0, 0, 0, 1, 6])]
        hat = replace(paint(painted, Kind.HAT), base_colour=colours)
        if headwear == "hat" and rng.random() < 0.3:
            made = [_pick(rng, self._wardrobe.garments[Kind.HAT])]
        else:
            made = made_headwear(rng, self._wardrobe.skin, headwear)
        pieces = pieces + [(garment, hat) for garment in made]
        if covering:
            return pieces, frozenset({"hidden"}), headwear, body
        # Short hair beneath shows a little or not at all.
        seen = {"bald": {"bald", "short", "hidden"}, "short": {"short", "hidden"}}.get(hair, {hair})
        return pieces, frozenset(seen), headwear, body

    def _hair_pieces(
        self, rng: Generator, painted: Appearance, body: Appearance, hair: str, headwear: str
    ) -> tuple[list[Piece], Appearance]:
        borders, finish = replace(body.borders, hair_length=ENDLESS), body.finish.copy()
        finish[HAIR, 2] = 0.0
        if hair == "bald":
            bald = replace(borders, hairline_front=-2.0, hairline_side=-2.0, hairline_back=-2.0)
            return [], replace(body, borders=bald, finish=finish)
        borders = replace(borders, hairline_front=rng.uniform(-0.72, -0.45))
        base = body.base_colour.copy()
        base[HAIR] = painted.base_colour[HAIR]
        if painted.borders.hairline_front <= -1.0 or base[HAIR, 3] in (1, 6):
            base[HAIR] = [*rng.uniform(0.03, 0.35, 3), PATTERNS.index("denim")]
        shade = replace(painted, base_colour=base)
        if hair == "short":
            side, back = rng.uniform(-0.25, 0.1), rng.uniform(0.1, 0.6)
            borders = replace(borders, hairline_side=side, hairline_back=back)
            names = [name for name in self._hair if name.startswith(("short", "afro"))]
            meshed = headwear == "none" and rng.random() < 0.6
            finish[HAIR, 2] = 0.0 if meshed else rng.uniform(0.004, 0.024)
            pieces = [(self._hair[str(rng.choice(names))], paint(shade, Kind.HAIR))] if meshed else []
            return pieces, replace(body, borders=borders, finish=finish, base_colour=base)
        borders = replace(borders, hairline_side=0.2, hairline_back=0.8, beard=0.0)
        garment = self._hair[str(rng.choice(_LONG_HAIR[hair]))]
        if headwear != "none":
            garment = beneath(garment, self._wardrobe.canvas, headwear)
        pieces = [(garment, paint(shade, Kind.HAIR))] if len(garment.faces) else []
        return pieces, replace(body, borders=borders, finish=finish, base_colour=base)


def _pick(rng: Generator, garments: Sequence[Garment]) -> Garment:
    return garments[int(rng.integers(len(garments)))]


def _end(rng: Generator, ends: tuple[float, float], long: tuple[float, float, float]) -> float:
    """Where a limb of a garment ends; of the long ones most end far out."""
    if ends[1] < long[1]:
        return float(rng.uniform(*ends))
    return float(rng.uniform(*(long[1:] if rng.random() < _WHOLE else long[:2])))


def _drawn(rng: Generator, shares: Mapping[str, float]) -> str:
    weights = np.array(list(shares.values()))
    return list(shares)[int(rng.choice(len(weights), p=weights / weights.sum()))]


def _fabric(rng: Generator, painted: Appearance, material: int, wrinkles: float = 1.0) -> Appearance:
    """A garment of one material, with random wrinkles."""
    fabric = paint(painted, Kind.SUIT)
    finish, base = fabric.finish.copy(), fabric.base_colour.copy()
    finish[[TOP, BOTTOM, INNER], 1] = rng.uniform(0.4, 2.0) * wrinkles
    if np.array_equal(base[material], painted.base_colour[SKIN]):
        base[material] = [*fabric_colour(rng), 0]
    top_hem = -ENDLESS if material == TOP else ENDLESS
    return replace(fabric, finish=finish, base_colour=base, borders=replace(fabric.borders, top_hem=top_hem))
