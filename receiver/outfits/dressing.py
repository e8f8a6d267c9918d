"""Outfits of measures: z' as a displacement of the template, coarse to fine: extent of each part, hems, folds.

A garment is a shell (`Shells`), cut along lines of the limbs and let out along its own normals.  Of
several garments over a vertex the outermost one counts.  At a hem the vertices nearest to it move onto it, along the
limb: the template is coarse there, and the hem would run in a zigzag.

Cloth hangs: below its widest place a garment does not follow the body back in.  Around the axis of a limb or of the
trunk, it has a radius in each direction.  Downwards it narrows by no more than a given share, and where the skin
recedes faster, the cloth stays out.  Of 42 clothed avatars in trousers and shoes the radius of a leg of cloth is 75 mm
at the knee and 71 mm at the hem, that of the template's skin 58 and 38 mm.

Shapes: V' vertices of the template, M of them on a tube.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
from scipy.ndimage import gaussian_filter1d, map_coordinates

from common.arrays import BoolArray, FloatArray, IntArray
from common.body.anatomy import REGION_INDEX
from common.body.template import BodyTemplate
from common.errors import WeightsError
from receiver.outfits.mixture import LONG_LAYERS, OutfitLatent, Styles, style_of, styles

SHELLS_FILE = Path(__file__).with_name("shells.npz")
_STEP_M = 1e-4
"""Unit of the stored displacements."""
_COORDINATES = ("limb", "axes")


@dataclass(frozen=True, eq=False)
class Shells:
    """Whole garments on the mean body.

    Args:
        limb: (V', 4) along the arm (0 shoulder, 1 elbow, 2 wrist), along the leg (0 hip, 1 knee, 2 ankle), up the
            torso (0 hips, 1 neck), 1 on the head; below 0 where a vertex is not on the limb.
        axes: (V', 3) metres down the limb or up the torso per unit of that coordinate.
        fields: name → (V', 3) displacement, metres: `suit.…` from the neck towards wrists and ankles, `skirt…` from the
            waist to the ankles, `hair.…`, `shoes.…`.
    """

    limb: FloatArray
    axes: FloatArray
    fields: dict[str, FloatArray]

    @classmethod
    def load(cls) -> Self:
        """The shells of the package.

        Raises:
            WeightsError: they are missing or unreadable.
        """
        try:
            with open(SHELLS_FILE, "rb") as file, np.load(file) as stored:
                arrays = {name: stored[name].astype(np.float32) for name in stored.files}
            limb, axes = (arrays.pop(name) for name in _COORDINATES)
            fields = {name: array * np.float32(_STEP_M) for name, array in arrays.items()}
            if limb.shape != (len(axes), 4) or any(field.shape != axes.shape for field in fields.values()):
                raise ValueError(f"shapes {limb.shape}, {axes.shape}")
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise WeightsError(f"{SHELLS_FILE.name} is missing or unreadable; reinstall bodywire") from error
        return cls(limb, axes, fields)


# How far domes are from the skull, metres, and how far down they reach: at the front and at the back, in half heights
# of the head above its centre.
_DOMES = {
    "cap": (0.010, 0.38, -0.25),
    "beanie": (0.012, 0.42, -0.35),
    "helmet": (0.032, 0.34, -0.55),
    "hat": (0.016, 0.36, -0.1),
}
_RIM_M, _RIM, _SNAP = 0.006, 0.22, 0.04
_VISOR_M, _VISOR = 0.07, 0.13
_BRIM_M, _BRIM, _CROWN_M = 0.06, 0.24, 0.025
_HOOD_M, _SCARF_M = 0.022, 0.012
_HOOD_TOP = 0.52
_FACE_WIDTH = 0.66


class Headwear:
    """Puts headwear on the template."""

    def __init__(self, template: BodyTemplate, normals: FloatArray, shells: Shells) -> None:
        self._rest, self._normals = template.rest, normals
        head = np.isin(template.region, [REGION_INDEX["face"], REGION_INDEX["scalp"]]) & template.outside
        scalp = template.region == REGION_INDEX["scalp"]
        low, high = self._rest[scalp].min(0), self._rest[scalp].max(0)
        self._centre = np.array([0, low[1] + 0.115, (low[2] + high[2]) / 2 - 0.012], np.float32)
        self._radius = np.array([(high[0] - low[0]) / 2, 0.115, (high[2] - low[2]) / 2 + 0.012], np.float32)
        relative = (self._rest - self._centre) / self._radius
        self._side, self._up, self._back = relative[:, 0], -relative[:, 1], relative[:, 2]
        self._head = head
        self._neck = (shells.limb[:, 2] > 0.97) & ~head & (shells.limb[:, 0] < 0) & template.outside

    def put_on(self, kind: str, field: FloatArray) -> None:
        """Changes the displacement (V', 3) where the headwear is."""
        if kind in _DOMES:
            self._dome(kind, field)
        elif kind in ("hood", "scarf"):
            self._hood(_HOOD_M if kind == "hood" else _SCARF_M, field)

    def _dome(self, kind: str, field: FloatArray) -> None:
        thickness_m, front, back = _DOMES[kind]
        rim = front + (back - front) * np.clip((self._back + 1) / 2, 0, 1)
        inside = self._head & (self._up > rim - _SNAP)
        shell = self._ellipsoid(thickness_m) - self._rest
        # What is near to the rim lies on it: the template's vertices are not in rows there.
        to_rim_m = self._centre[1] - rim * self._radius[1] - self._rest[:, 1]
        on_rim = np.abs(self._up - rim) < _SNAP
        shell[on_rim, 1] = to_rim_m[on_rim]
        if kind == "beanie":
            shell = shell + self._normals * (_RIM_M * (self._up < rim + _RIM))[:, None]
        if kind == "cap":
            visor = np.clip((-self._back - 0.45) / 0.4, 0, 1) * (self._up < rim + _VISOR)
            shell = shell + visor[:, None] * np.array([0, 0.012, -_VISOR_M], np.float32)
        if kind == "hat":
            around = np.stack([self._side, np.zeros_like(self._side), self._back], 1)
            around /= np.maximum(np.linalg.norm(around, axis=1, keepdims=True), 1e-6)
            shell[:, 1] -= _CROWN_M * np.clip((self._up - rim) / 0.4, 0, 1)
            share = np.clip((rim + _BRIM - self._up) / _BRIM, 0, 1)
            shell[:, 1] += np.clip(2 * share, 0, 1) * (to_rim_m - shell[:, 1])
            shell = shell + _BRIM_M * around * share[:, None]
        field[inside] = shell[inside]

    def _hood(self, thickness_m: float, field: FloatArray) -> None:
        """Everything but the face, and the neck."""
        face = (self._back < 0.05) & (self._up < _HOOD_TOP) & (np.abs(self._side) < _FACE_WIDTH)
        inside = self._head & ~face & (self._up > -1.3)
        shell = self._ellipsoid(thickness_m) - self._rest
        lower = self._up < 0
        shell[lower] = (self._normals * thickness_m)[lower]
        field[inside] = shell[inside]
        field[self._neck] = (self._normals * thickness_m)[self._neck]

    def _ellipsoid(self, thickness_m: float) -> FloatArray:
        """(V', 3) the points of a smooth skull that are in the direction of the vertices."""
        direction = (self._rest - self._centre) / self._radius
        length = np.linalg.norm(direction, axis=1, keepdims=True)
        return np.asarray(
            self._centre + direction / np.maximum(length, 1e-6) * (self._radius + thickness_m), np.float32
        )


_DIRECTIONS, _ROWS, _SMOOTH = 20, 32, 1.0
# What faces away from the axis less than this hangs less.
_FACING = 0.5


class Tube:
    """A part of the body that cloth hangs around.

    Args:
        rest: (V', 3) the template.
        normals: (V', 3) of it.
        inside: (V',) the vertices on the tube.
        along: (V',) how far down they are.
        narrowing: the share of its radius that cloth may lose from one unit of `along` to the next.
    """

    def __init__(
        self, rest: FloatArray, normals: FloatArray, inside: BoolArray, along: FloatArray, narrowing: float
    ) -> None:
        self._inside, down = inside, along[inside].astype(np.float64)
        self._row = (down - down.min()) / np.ptp(down) * (_ROWS - 1)
        self._kept = (1 - narrowing) ** (np.ptp(down) / (_ROWS - 1))
        places = rest[inside].astype(np.float64)
        # The axis bends at most once.
        bend = np.stack([np.ones_like(down), down, np.maximum(down - 1, 0)], 1)
        self._axis = bend @ np.linalg.lstsq(bend, places, rcond=None)[0]
        lower, upper = self._row > 0.75 * _ROWS, self._row < 0.25 * _ROWS
        direction = self._axis[lower].mean(0) - self._axis[upper].mean(0)
        direction /= np.linalg.norm(direction)
        across = places - self._axis
        across -= (across @ direction)[:, None] * direction
        self._unit = across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-6)
        side = np.cross(direction, [0.0, 0.0, 1.0])
        angle = np.arctan2(self._unit @ np.cross(side, direction), self._unit @ side)
        self._turn = (angle / (2 * np.pi) + 0.5) * _DIRECTIONS
        self._share = np.clip(np.einsum("md,md->m", self._unit, normals[inside]) / _FACING, 0, 1)

    def hung(self, position: FloatArray, cloth: BoolArray, amount: float) -> FloatArray:
        """(V', 3) how far cloth moves outwards.

        Args:
            position: (V', 3) of the garment.
            cloth: (V',) where the garment is.
            amount: 0 for cloth that clings, 1 for cloth that hangs freely.
        """
        moved = np.zeros_like(position)
        on = cloth[self._inside]
        radius_m = np.einsum("md,md->m", position[self._inside] - self._axis, self._unit)
        widest_m = np.zeros((_ROWS, _DIRECTIONS))
        place = self._row.astype(int)[on], self._turn.astype(int)[on] % _DIRECTIONS
        np.maximum.at(widest_m, place, radius_m[on])
        for row in range(1, _ROWS):
            widest_m[row] = np.maximum(widest_m[row], widest_m[row - 1] * self._kept)
        widest_m = gaussian_filter1d(widest_m, _SMOOTH, axis=1, mode="wrap")
        wanted_m = map_coordinates(widest_m, [self._row, self._turn - 0.5], order=1, mode="grid-wrap")
        out_m = amount * self._share * np.maximum(wanted_m - radius_m, 0) * on
        moved[self._inside] = self._unit * out_m[:, None]
        return moved


_LEAST_M: Final = 0.002  # of cloth from the skin
_OVER_M: Final = 0.005  # of a top from a bottom
# Vertices move onto a hem that are within `_HEM_SNAP` of the distance between vertices, to both sides of it; what is
# beyond them, up to `_BENEATH`, moves up beneath it: a hem is an edge.
_HEM_SNAP: Final = 0.5
_BENEATH: Final = 1.4
# Cloth still fades over the mesh's next edge, so that legs end so far above their hems, in units of the leg.
_FADES: Final = 0.04
_SKIRT_FADES: Final = 0.13  # the same of skirts and tails
_COVERED_M: Final = 3e-4  # a suit covers what it moves by more
_OPENS_AT: Final = 1.3  # an open front narrows to nothing there, up the torso
_OPEN_ABOVE: Final = 0.0  # and goes so far down the torso
_CLOSED_M: Final = 0.009  # narrower ones are closed
# Cloth that is let out so far hangs, and clings the more the less it is: trousers hang sooner than tops, whose cloth
# would else end too far from the body.
_TROUSERS_HANG_M: Final = (-0.003, 0.015)
_TOPS_HANG_M: Final = (0.0, 0.03)
_RESTS: Final = 0.8  # share of what is let out by which cloth rests where the body faces up
# Shares of its radius by which cloth narrows: from hip to knee and knee to ankle, shoulder to elbow, and up the trunk.
_LEG_NARROWS: Final = 0.3
_ARM_NARROWS: Final = 0.3
_TRUNK_NARROWS: Final = 0.10
_KNEE: Final = 0.75  # above it, in units of the leg, cloth lies on the thigh
_ANKLE: Final = 2.06  # there trousers end
_FLAT: Final = 0.25  # sleeves hang below the flat of the shoulder, in units of the arm
# The trunk, in units of the torso: tops hang from the armpits down to the thighs.
_ARMPIT: Final = 0.74
_THIGHS: Final = -0.3
_COLLAR: Final = 0.93  # a collar begins there, up the torso
_COLLAR_M: Final = {"jacket": 0.010, "coat": 0.013, "vest": 0.006}
_RIBBING_M: Final = 0.004  # of tops without one
_CUFF_FROM: Final = 1.2  # from there down the arm a sleeve is taken in
_CUFF: Final = 0.6  # to so much less at the wrist
_BELT_M: Final = 0.006  # bottoms, which are cut from suits with a top, lie so close to the waist
_BELOW_BELT_M: Final = 0.1  # and by so much more below it
_WAIST_HEM: Final = 0.02  # up the torso, where the upper part of a coat ends
_TAILS_WAIST: Final = 0.08  # and where its tails begin
_FOLD_M: Final = 0.0022  # depth of folds
_SOLE_M: Final = 0.024  # soles reach so high up the foot
_SOLE_BEYOND_M: Final = 0.007  # and so far beyond it
_FOOT_END_M: Final = 0.035  # a foot's middle line ends so far from its ends
_ANKLE_M: Final = (0.066, 0.092)  # up from the ground, where the collar of a shoe is
_COLLAR_OF_SHOE_M: Final = 0.007  # how far it stands off
_SHAFT_M: Final = 0.009  # of a boot from the skin
_LEAST_VOLUME: Final = 0.6  # of hair, a share of its shell
# Hair against its shells, which were made for other skulls: chosen on silhouettes of heads in training photographs.
_FLATTER: Final = 0.6  # on the crown
_BESIDE_M: Final = 0.006  # wider at the ears
# A garment may end so far beyond its suit, in units of the limb's coordinate; no suit needs to reach further.
_SHORTER: Final = 0.15
_LONGEST: Final = 1.9
_SKIRT = "skirt"
_ONE_PIECE = ("dress", "robe")
_WHOLE_HEAD = ("helmet", "hood", "scarf")

PARTS: Final = ("skin", "hair", "top", "bottom", "shoes")
"""What can be outermost; headwear counts as hair."""
_HAIR, _TOP, _BOTTOM, _SHOES = range(1, len(PARTS))


@dataclass(frozen=True, eq=False)
class Outfit:
    """An outfit on the template.

    Args:
        displacement: (V', 3) at rest from skin to the outermost layer, camera axes, metres.
        part: (V',) the outermost layer, index into `PARTS`.
    """

    displacement: FloatArray
    part: IntArray

    @property
    def cloth(self) -> BoolArray:
        """(V',) where the outermost layer is cloth: not skin, hair, headwear or shoes."""
        return _is_cloth(self.part)


class Dresser:
    """Dresses the template."""

    def __init__(self, template: BodyTemplate, shells: Shells) -> None:
        self._rest, self._shells = template.rest, shells
        self._normals = np.asarray(template.vertex_normals(template.rest), np.float32)
        self._spacing_m = np.sqrt(1.15 * template.areas)
        self._arm, self._leg, self._torso = shells.limb[:, :3].T
        self._on_arm, self._on_leg = self._arm > 0, self._leg > 0
        upright = ~self._on_arm & (self._leg < 0) & (self._torso > 0)
        self._up = np.broadcast_to(np.median(shells.axes[upright], axis=0), shells.axes.shape)
        self._front = self._normals[:, 2] < 0.1
        self._facing_up = np.clip(-self._normals[:, 1], 0, 1)
        self._headwear = Headwear(template, self._normals, shells)
        region = template.region
        self._foot = np.isin(region, [REGION_INDEX["foot.L"], REGION_INDEX["foot.R"]])
        self._ground_m = float(self._rest[self._foot, 1].max())
        self._above_ground_m = self._ground_m - self._rest[:, 1]
        self._beside_foot = self._away_from_feet()
        # Skirts end at one height.
        leg_y = [float(np.median(self._rest[np.abs(self._leg - end) < 0.05, 1])) for end in (0.1, 1.0, 1.9)]
        self._fall = np.interp(self._rest[:, 1], leg_y, (0.1, 1.0, 1.9)).astype(np.float32)
        self._tubes = self._tubes_of()
        names = [name for name in shells.fields if name.startswith(("suit.", _SKIRT))]
        self._outward = {name: self._outward_of(name, template) for name in names}
        self._covered = {name: _lengths(shells.fields[name]) > _COVERED_M for name in names}

    def dress(self, latent: OutfitLatent) -> Outfit:
        """The outfit of z'."""
        worn = _Worn(self._normals, len(self._rest))
        self._shoes(worn, latent)
        self._bottom(worn, latent)
        self._top(worn, latent)
        worn.field += self._folds(worn, latent)
        self._head(worn, latent)
        return Outfit(np.asarray(worn.field, np.float32), worn.part)

    def suits(self, part: str, end: float) -> Styles:
        """The suits that reach far enough down the limb for a `top` or `bottom` that ends there."""
        limb = self._arm if part == "top" else self._leg
        least = min(end, _LONGEST) - _SHORTER
        return [(name, share) for name, share in styles(part) if limb[self._covered[name]].max() > least]

    def _outward_of(self, name: str, template: BodyTemplate) -> FloatArray:
        """(V', 3) the directions in which a garment is let out: its normals, or horizontally those of a skirt."""
        position = self._rest + self._shells.fields[name]
        if not name.startswith(_SKIRT):
            return np.asarray(template.vertex_normals(position), np.float32)
        moved = _lengths(self._shells.fields[name]) > _COVERED_M
        outward = position - np.array([0, 0, np.median(position[moved, 2])], np.float32)
        outward[:, 1] = 0
        return np.asarray(outward / np.maximum(_lengths(outward)[:, None], 1e-6), np.float32)

    def _tubes_of(self) -> dict[str, Tube]:
        """What cloth hangs around: the legs below the thighs, the arms, and the trunk below the armpits."""
        left = self._rest[:, 0] > 0
        legs, arms = self._leg > _KNEE, self._on_arm & (self._arm > _FLAT)
        trunk = ~self._on_arm & (self._torso < _ARMPIT) & (self._torso > _THIGHS)
        tubes = {"trunk": Tube(self._rest, self._normals, trunk, -self._torso, _TRUNK_NARROWS)}
        for name, side in (("L", left), ("R", ~left)):
            tubes[f"leg.{name}"] = Tube(
                self._rest, self._normals, legs & side & (self._leg < _ANKLE), self._leg, _LEG_NARROWS
            )
            tubes[f"arm.{name}"] = Tube(self._rest, self._normals, arms & side, self._arm, _ARM_NARROWS)
        return tubes

    def _away_from_feet(self) -> FloatArray:
        """(V', 3) horizontal unit vectors from the middle line of each foot; 0 elsewhere."""
        away = np.zeros_like(self._rest)
        for side in (-1, 1):
            foot = self._foot & (np.sign(self._rest[:, 0]) == side)
            position = self._rest[foot]
            middle = np.clip(position[:, 2], position[:, 2].min() + _FOOT_END_M, position[:, 2].max() - _FOOT_END_M)
            offset = np.stack([position[:, 0] - position[:, 0].mean(), 0 * middle, position[:, 2] - middle], 1)
            away[foot] = offset / np.maximum(_lengths(offset)[:, None], 1e-6)
        return away

    def _bottom(self, worn: "_Worn", latent: OutfitLatent) -> None:
        z, skirt = latent.z_prime["bottom"], latent.kinds["bottom"].startswith("skirt")
        name = style_of(styles("skirt") if skirt else self.suits("bottom", z["leg_end"]), z["style"])
        flare_m = max(z["flare_m"], 0) * np.clip(self._leg, 0, 2) / 2
        beyond = self._fall + _SKIRT_FADES if skirt else self._leg + _FADES
        beyond = beyond - z["leg_end"]
        below = self._on_leg & ~self._reached(beyond, self._shells.axes)
        kept = ~self._on_arm & (self._torso <= z["waist"]) & ~below
        most_m = _BELT_M + np.maximum(z["waist"] - self._torso, 0) * _BELOW_BELT_M
        if skirt:
            most_m[self._on_leg] = np.inf
        hangs, loose_m = () if skirt else ("leg.L", "leg.R"), z["loose_m"] + flare_m
        self._put(worn, _BOTTOM, name, kept, loose_m, most_m=most_m, hangs=hangs, hangs_m=_TROUSERS_HANG_M)
        self._straighten(worn, name, beyond, self._on_leg)

    def _top(self, worn: "_Worn", latent: OutfitLatent) -> None:
        layer, z = latent.kinds["layer"], latent.z_prime["top"]
        if layer == "none" or latent.kinds["sleeve"] == "bare":
            return
        sleeve = latent.z_prime["sleeve"]
        long = layer in LONG_LAYERS
        name = style_of(self.suits("top", sleeve["sleeve_end"]), sleeve["style"])
        arms = self._on_arm & self._reached(self._arm - sleeve["sleeve_end"], self._shells.axes)
        hem = _WAIST_HEM if long else z["hem"]
        closed = ~self._opening(z["opening_m"])
        flare_m = max(sleeve["flare_m"], 0) * np.clip(self._arm, 0, 2) / 2
        kept = arms | (~self._on_arm & self._reached(hem - self._torso, self._up))
        collar_m = _COLLAR_M.get(layer, _RIBBING_M) * np.clip((self._torso - _COLLAR) / (1 - _COLLAR), 0, 1)
        cuff = 1 - _CUFF * np.clip((self._arm - _CUFF_FROM) / (2 - _CUFF_FROM), 0, 1)
        loose_m = z["loose_m"] * (1 - _RESTS * self._facing_up) * cuff + flare_m + collar_m * ~self._on_arm
        hangs = ("trunk", "arm.L", "arm.R")
        over = None if layer in _ONE_PIECE else _OVER_M
        self._put(worn, _TOP, name, kept & closed, loose_m, over=over, hangs=hangs)
        self._straighten(worn, name, self._arm - sleeve["sleeve_end"], self._on_arm)
        if long:
            beyond = self._fall + _SKIRT_FADES - z["hem"]
            below = self._on_leg & ~self._reached(beyond, self._shells.axes)
            tails = ~self._on_arm & (self._torso <= _TAILS_WAIST) & ~below
            flare_m = max(z["flare_m"], 0) * np.clip(self._leg, 0, 2) / 2
            self._put(worn, _TOP, _SKIRT, tails, z["loose_m"] + flare_m)
            self._straighten(worn, _SKIRT, beyond, self._on_leg)
        elif layer != "dress":
            self._straighten(worn, name, hem - self._torso, ~self._on_arm & closed, -self._up)

    def _put(
        self,
        worn: "_Worn",
        part: int,
        name: str,
        kept: BoolArray,
        loose_m: float | FloatArray,
        over: float | None = None,
        most_m: float | FloatArray = np.inf,
        hangs: Sequence[str] = (),
        hangs_m: tuple[float, float] = _TOPS_HANG_M,
    ) -> None:
        out = self._outward[name] * np.broadcast_to(loose_m, len(kept))[:, None].astype(np.float32)
        kept, field = kept & self._covered[name], self._shells.fields[name] + out
        beyond_m = np.maximum(np.einsum("vd,vd->v", field, self._normals) - most_m, 0).astype(np.float32)
        field -= self._normals * beyond_m[:, None]
        amount = float(np.interp(np.median(loose_m), hangs_m, (0, 1)))
        field += sum(self._tubes[each].hung(self._rest + field, kept, amount) for each in hangs)
        if name.startswith(_SKIRT):
            # It leaves the legs, the crotch, and what they wear, behind.
            around = self._on_leg | (self._torso < 0)
            worn.put_round(kept & around, field, part)
            kept &= ~around
        worn.put(kept, field, part, over)

    def _reached(self, beyond: FloatArray, axes: FloatArray) -> BoolArray:
        """(V',) what a garment reaches that ends where `beyond` is 0, in units of `axes` (V', 3)."""
        return np.asarray(beyond * _lengths(axes) <= _HEM_SNAP * self._spacing_m)

    def _straighten(
        self, worn: "_Worn", name: str, beyond: FloatArray, on: BoolArray, axes: FloatArray | None = None
    ) -> None:
        """Moves the vertices of a garment that are nearest to its hem onto it, and what is beyond beneath it.

        Args:
            beyond: (V',) how far down the limb, or against the axes, a vertex is beyond the hem.
            axes: (V', 3) metres per unit of that; default: down the limbs.
        """
        down = -beyond[:, None] * (self._shells.axes if axes is None else axes)
        spacings = _lengths(down) / self._spacing_m * np.sign(beyond)
        snap = _HEM_SNAP
        if name.startswith(_SKIRT):
            # The template is coarse between the legs, where the skirt is wide.
            down[:, [0, 2]], snap = 0, 1.0
        near = on & self._covered[name] & worn.cloth & (spacings > -snap) & (spacings <= _HEM_SNAP)
        beneath = on & (spacings > _HEM_SNAP) & (spacings < _BENEATH)
        worn.field[near | beneath] += down[near | beneath]

    def _opening(self, half_width_m: float) -> BoolArray:
        """(V',) whether an open front leaves the vertex free; it widens towards the hem."""
        if half_width_m <= _CLOSED_M:
            return np.zeros(len(self._rest), np.bool_)
        width = half_width_m * np.clip(_OPENS_AT - self._torso, 0.2, _OPENS_AT)
        return np.asarray(
            self._front & ~self._on_arm & (self._torso > _OPEN_ABOVE) & (np.abs(self._rest[:, 0]) < width)
        )

    def _shoes(self, worn: "_Worn", latent: OutfitLatent) -> None:
        kind, z = latent.kinds["shoes"], latent.z_prime["shoes"]
        if kind == "barefoot":
            return
        if kind != "sandals":
            field = self._shells.fields[style_of(styles("shoes"), z["style"])]
            moved = _lengths(field) > 1e-3
            worn.put(moved & (self._foot | (self._leg > z["shaft"])), field, _SHOES)
        if kind == "shoes":
            low, high = _ANKLE_M
            share = 1 - np.abs(self._above_ground_m - (low + high) / 2) / ((high - low) / 2)
            collar = (share > 0) & (self._foot | self._on_leg) & ~worn.cloth
            worn.field += self._normals * (_COLLAR_OF_SHOE_M * np.sqrt(share.clip(0)) * collar)[:, None]
            worn.part[collar] = _SHOES
        if kind == "boots":
            shaft = self._on_leg & ~self._foot & (self._leg > z["shaft"])
            worn.put(shaft, self._normals * np.float32(_SHAFT_M), _SHOES)
        self._sole(worn, max(z["sole_m"], 0))

    def _sole(self, worn: "_Worn", sole_m: float) -> None:
        """A person stands on the soles, which are wider than the foot."""
        above = self._ground_m - (self._rest + worn.field)[:, 1]
        share = np.clip(1 - above / _SOLE_M, 0, 1) * self._foot
        # The shells of shoes have soles of their own.
        worn.field[:, 1] += max(sole_m + float(above[self._foot].min()), 0) * share
        worn.field += (_SOLE_BEYOND_M * (share > 0))[:, None] * self._beside_foot
        worn.part[share > 0] = _SHOES

    def _head(self, worn: "_Worn", latent: OutfitLatent) -> None:
        headwear, z = latent.kinds["headwear"], latent.z_prime["hair"]
        cuts = styles(f"hair {latent.kinds['hair']}")
        if cuts and headwear not in _WHOLE_HEAD:
            field = self._shells.fields[style_of(cuts, z["style"])]
            moved = _lengths(field) > 1e-3
            field = field * np.float32(max(z["volume"], _LEAST_VOLUME))
            field[:, 1] *= np.where(field[:, 1] < 0, np.float32(_FLATTER), 1)
            field[moved, 0] += _BESIDE_M * self._normals[moved, 0]
            worn.put(moved, field, _HAIR, _OVER_M)
        before = worn.field.copy()
        self._headwear.put_on(headwear, worn.field)
        worn.part[(worn.field != before).any(axis=1)] = _HAIR

    def _folds(self, worn: "_Worn", latent: OutfitLatent) -> FloatArray:
        """(V', 3) wrinkles of loose cloth: waves across the body, and rings at elbows and knees."""
        phases, waves = latent.phases, np.zeros(len(self._rest), np.float32)
        for row in range(5):
            angle, length_m = np.pi * (phases[row] - 0.5), 0.1 + 0.1 * phases[row + 5]
            direction = np.array([np.cos(angle), np.sin(angle), np.cos(3 * angle) * 0.7], np.float32)
            waves += np.sin(2 * np.pi * (self._rest @ direction / length_m + phases[row + 10])) / 2.2
        for limb in (self._arm, self._leg):
            ring = np.sin(2 * np.pi * limb * 4 + 6 * phases[15]) * np.exp(-(((limb - 1) / 0.15) ** 2)) * (limb > 0)
            waves += 0.7 * ring
        height_m = _lengths(worn.field)
        size = _FOLD_M * max(latent.z_prime["folds"]["size"], 0) * np.clip(height_m / 0.02, 0, 1) * worn.cloth
        return np.asarray(self._normals * (size * waves)[:, None], np.float32)


class _Worn:
    """What has been put on.

    Attributes:
        field: (V', 3) displacement.
        part: (V',) the outermost layer.
    """

    def __init__(self, normals: FloatArray, count: int) -> None:
        self._normals = normals
        self.field, self.part = np.zeros((count, 3), np.float32), np.zeros(count, np.int64)

    @property
    def cloth(self) -> BoolArray:
        """(V',) whether the outermost layer is cloth."""
        return _is_cloth(self.part)

    def put(self, inside: BoolArray, field: FloatArray, part: int, over: float | None = None) -> None:
        """Puts on a part; cloth counts where it is outermost, or lies `over` metres over cloth beneath."""
        cloth = part in (_TOP, _BOTTOM)
        height, beneath = (np.einsum("vd,vd->v", each, self._normals) for each in (field, self.field))
        least = np.where(self.cloth & (over is not None), beneath + (over or 0), _LEAST_M if cloth else -1.0)
        lift = np.maximum(least - height, 0).astype(np.float32)
        outer = inside & (height + lift > beneath) if cloth else inside
        self.field[outer] = (field + self._normals * lift[:, None])[outer]
        self.part[outer] = part

    def put_round(self, inside: BoolArray, field: FloatArray, part: int) -> None:
        """Puts on what goes around both legs, over all else."""
        self.field[inside], self.part[inside] = field[inside], part


def _lengths(vectors: FloatArray) -> FloatArray:
    """(V',) of (V', 3), in a tenth of the time of `numpy.linalg.norm`."""
    return np.asarray(np.sqrt(np.einsum("vd,vd->v", vectors, vectors)), np.float32)


def _is_cloth(part: IntArray) -> BoolArray:
    return np.asarray((part == _TOP) | (part == _BOTTOM))
