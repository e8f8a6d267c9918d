"""Unfolds z' into a displacement of the template, coarse to fine: extent of each part, hems, folds.

Parts are put on from the inside: shoes, bottom, top, layer, hair or headwear.  Each replaces what it covers, and lies
over it.  At a hem the vertices nearest to it, of the garment and of what is beneath, move onto it, along the limb: the
template is coarse there, and the hem would run in a zigzag.

Shapes: V' vertices of the template.
"""

from dataclasses import dataclass

import numpy as np

from common.arrays import BoolArray, FloatArray
from common.body.anatomy import REGION_INDEX
from common.body.template import BodyTemplate
from receiver.outfits.headwear import Headwear
from receiver.outfits.mixture import OutfitLatent
from receiver.outfits.shells import FITS, Shells

# A garment lies so far over what is beneath, and its hem is so much thicker.
_LEAST_M = 0.003
_OVER_M, _HEM_M = 0.007, 0.004
# Part of the distance between vertices within which they move onto a hem.
_SNAP = 0.55
_COLLAR, _COLLAR_M = 0.07, 0.007
_NECK_DEPTH, _NAPE = 0.1, 0.03
_CLOSED_BELOW = -0.12
_FOLD_M = 0.0022
# Soles reach so high up the foot, and so far beyond it; its middle line ends so far from its ends.
_SOLE_M, _RIM_M, _FOOT_END_M = 0.028, 0.004, 0.035
_HAIR = {
    "short": ("hair.short01", "hair.short02", "hair.short03", "hair.short04"),
    "medium": ("hair.bob01", "hair.bob02"),
    "long": ("hair.long01",),
    "tied": ("hair.ponytail01", "hair.braid01"),
}
_SHOES = ("shoes.shoes01", "shoes.shoes02", "shoes.shoes03")
_OPEN_LAYERS = ("jacket", "coat", "vest", "robe")
_WHOLE_HEAD = ("helmet", "hood", "scarf")
_LONG_LAYERS = ("coat", "robe")


@dataclass(frozen=True, eq=False)
class Outfit:
    """An outfit on the template.

    Args:
        displacement: (V', 3) at rest from skin to the outermost layer, camera axes, metres.
        cloth: (V',) where the outermost layer is cloth: not skin, hair, headwear or shoes.
    """

    displacement: FloatArray
    cloth: BoolArray


class Dresser:
    """Dresses the template."""

    def __init__(self, template: BodyTemplate, shells: Shells) -> None:
        self._rest, self._shells = template.rest, shells
        self._normals = np.asarray(template.vertex_normals(template.rest), np.float32)
        self._spacing_m = np.sqrt(1.15 * template.areas)
        self._arm, self._leg, self._torso = shells.limb[:, :3].T
        self._on_arm, self._on_leg = self._arm >= 0, self._leg > 0
        self._front = self._normals[:, 2] < 0.1
        self._headwear = Headwear(template, self._normals, shells)
        region = template.region
        self._foot = np.isin(region, [REGION_INDEX["foot.L"], REGION_INDEX["foot.R"]])
        bare = ("face", "scalp", "hand.L", "hand.R", "foot.L", "foot.R")
        self._clothed = ~np.isin(region, [REGION_INDEX[name] for name in bare]) & (self._torso < 1.12)
        self._ground_m = float(self._rest[self._foot, 1].max())
        self._beside_foot = self._away_from_feet()

    def dress(self, latent: OutfitLatent) -> Outfit:
        """The outfit of z'."""
        worn = _Worn(self._normals, len(self._rest))
        over_boots = latent.kinds["shoes"] != "boots" or latent.z_prime["bottom"]["fit"] > 1.3
        if over_boots:
            self._shoes(worn, latent)
        self._bottom(worn, latent)
        if not over_boots:
            self._shoes(worn, latent)
        self._tops(worn, latent)
        worn.field += self._folds(worn, latent)
        self._head(worn, latent)
        return Outfit(np.asarray(worn.field + worn.slide, np.float32), worn.loose > 0)

    def _away_from_feet(self) -> FloatArray:
        """(V', 3) horizontal unit vectors from the middle line of each foot; 0 elsewhere."""
        away = np.zeros_like(self._rest)
        for side in (-1, 1):
            foot = self._foot & (np.sign(self._rest[:, 0]) == side)
            position = self._rest[foot]
            middle = np.clip(position[:, 2], position[:, 2].min() + _FOOT_END_M, position[:, 2].max() - _FOOT_END_M)
            offset = np.stack([position[:, 0] - position[:, 0].mean(), 0 * middle, position[:, 2] - middle], 1)
            away[foot] = offset / np.maximum(np.linalg.norm(offset, axis=1, keepdims=True), 1e-6)
        return away

    def moved(self, outfit: Outfit, change: FloatArray) -> FloatArray:
        """(V', 3) the displacement of an outfit whose cloth moves by (V', 3), but not under the skin."""
        field = outfit.displacement + change * outfit.cloth[:, None]
        height, before = (np.einsum("vd,vd->v", each, self._normals) for each in (field, outfit.displacement))
        lift = np.maximum(np.minimum(before, _LEAST_M) - height, 0) * outfit.cloth
        return np.asarray(field + self._normals * lift[:, None], np.float32)

    def _bottom(self, worn: "_Worn", latent: OutfitLatent) -> None:
        kind, z = latent.kinds["bottom"], latent.z_prime["bottom"]
        below_waist = self._torso <= z["waist"]
        if kind.startswith("skirt"):
            field = self._skirt(z["flare"] + 0.2 * (z["fit"] - 1))
        else:
            seat = np.clip(self._torso / 0.1, 0, 1)[:, None]
            field = self._fitted("cloth", z["fit"]) + seat * self._fitted("hang", z["fit"])
        inside = self._clothed & ~self._on_arm & below_waist & (self._leg <= z["leg_end"])
        self._hem(worn, self._leg, z["leg_end"], self._on_leg & self._clothed)
        worn.put(inside, field, self._edge(self._leg, z["leg_end"], self._on_leg), loose=z["fit"])

    def _tops(self, worn: "_Worn", latent: OutfitLatent) -> None:
        layer, z = latent.kinds["layer"], dict(latent.z_prime["top"])
        if layer == "none":
            return
        if layer in _OPEN_LAYERS:
            inner = {**z, "hem": 0.02, "fit": min(z["fit"], 0.7), "opening_m": 0.0, "sleeve_end": 0.4}
            self._top(worn, inner, "top")
            z["fit"] = max(z["fit"], 0.6) + 0.15
        self._top(worn, z, layer)

    def _top(self, worn: "_Worn", z: dict[str, float], layer: str) -> None:
        long = layer in _LONG_LAYERS
        # Tails or a skirt go on from there.
        torso_hem = 0.0 if long else 0.22 if layer == "dress" else z["hem"]
        arms = self._on_arm & (self._arm <= z["sleeve_end"])
        collar = self._collar(z["neckline"])
        trunk = ~self._on_arm & ~self._on_leg & (self._torso >= torso_hem) & (self._torso <= collar)
        hips = self._on_leg & (self._torso >= torso_hem)
        inside = self._clothed & (arms | trunk | hips)
        field = self._fitted("cloth", z["fit"]) + self._fitted("hang", z["fit"])
        if long:
            tails = self._clothed & ~self._on_arm & (self._torso < 0.12) & (self._leg <= z["hem"])
            down = np.clip((0.22 - self._torso) / 0.12, 0, 1) * ~self._on_arm
            field = field + down[:, None].astype(np.float32) * (self._skirt(0.2) - field)
            inside |= tails
        opened = self._opening(z["opening_m"])
        edge = self._edge(self._arm, z["sleeve_end"], self._on_arm)
        self._hem(worn, self._arm, z["sleeve_end"], self._on_arm & self._clothed)
        if long:
            edge |= self._edge(self._leg, z["hem"], self._on_leg)
            self._hem(worn, self._leg, z["hem"], self._on_leg & self._clothed)
        elif layer != "dress":
            edge |= self._edge(self._torso, torso_hem, ~self._on_arm)
            self._hem(worn, self._torso, torso_hem, ~self._on_arm & self._clothed)
        self._hem(worn, self._torso, collar, ~self._on_arm & self._clothed & (np.abs(self._rest[:, 0]) < 0.09))
        field = field + self._normals * (_COLLAR_M * (trunk & (self._torso > collar - _COLLAR)))[:, None]
        worn.put(inside & ~opened, field, edge, loose=z["fit"], over=layer != "dress")

    def _collar(self, neckline: float) -> FloatArray:
        """(V',) up to where the top reaches up the torso: lower in the middle of the front."""
        dip = np.clip(1 - np.abs(self._rest[:, 0]) / 0.08, 0, 1) * self._front
        # Shoulders are as high as the neck.
        beside = np.clip((np.abs(self._rest[:, 0]) - 0.06) / 0.05, 0, 1)
        return np.asarray(neckline - _NECK_DEPTH * dip + 0.3 * beside + _NAPE * ~self._front, np.float32)

    def _opening(self, half_width_m: float) -> BoolArray:
        """(V',) whether an open front leaves the vertex free; it widens towards the hem."""
        if half_width_m <= 0:
            return np.zeros(len(self._rest), np.bool_)
        width = half_width_m * np.clip(1.5 - self._torso, 0.4, 1.6)
        return np.asarray(
            self._front & ~self._on_arm & (self._torso > _CLOSED_BELOW) & (np.abs(self._rest[:, 0]) < width)
        )

    def _shoes(self, worn: "_Worn", latent: OutfitLatent) -> None:
        kind, z = latent.kinds["shoes"], latent.z_prime["shoes"]
        if kind == "barefoot":
            return
        if kind != "sandals":
            field = self._shells.fields[_quantile(_SHOES, z["style"])]
            moved = np.linalg.norm(field, axis=1) > 1e-3
            worn.put(moved & (self._foot | (self._leg > z["shaft"])), field)
        if kind == "boots":
            shaft = self._on_leg & ~self._foot & (self._leg > z["shaft"])
            edge = self._edge(self._leg, z["shaft"], self._on_leg)
            worn.put(shaft, self._fitted("cloth", 0.8), edge)
            self._hem(worn, self._leg, z["shaft"], self._on_leg & ~self._foot)
        self._sole(worn, z["sole_m"])

    def _sole(self, worn: "_Worn", sole_m: float) -> None:
        """A person stands on the soles, which are wider than the foot."""
        above = self._ground_m - (self._rest + worn.field)[:, 1]
        share = np.clip(1 - above / _SOLE_M, 0, 1) * self._foot
        worn.field[:, 1] += sole_m * share
        worn.field += (_RIM_M * (share > 0))[:, None] * self._beside_foot

    def _head(self, worn: "_Worn", latent: OutfitLatent) -> None:
        hair, headwear, z = latent.kinds["hair"], latent.kinds["headwear"], latent.z_prime["hair"]
        styles = _HAIR.get(hair, ())
        if styles and headwear not in _WHOLE_HEAD:
            field = self._shells.fields[_quantile(styles, z["style"])]
            moved = np.linalg.norm(field, axis=1) > 1e-3
            scale = z["volume"] if hair in ("short", "medium") else 1.0
            worn.put(moved, field * np.float32(scale), over=False)
        self._headwear.put_on(headwear, worn.field)

    def _fitted(self, shell: str, fit: float) -> FloatArray:
        """(V', 3) of a shell that is there in all fits, from 0, tight, to 2, loose."""
        fit = min(max(fit, 0.0), 2.0)
        lower = min(int(fit), 1)
        first, second = (self._shells.fields[f"{shell}.{FITS[row]}"] for row in (lower, lower + 1))
        return np.asarray(first + np.float32(fit - lower) * (second - first), np.float32)

    def _skirt(self, flare: float) -> FloatArray:
        straight, wide = self._shells.fields["skirt.straight"], self._shells.fields["skirt.wide"]
        return np.asarray(straight + np.float32(np.clip(flare, 0, 1)) * (wide - straight), np.float32)

    def _hem(self, worn: "_Worn", coordinate: FloatArray, end: float | FloatArray, on: BoolArray) -> None:
        """Moves the vertices nearest to a hem onto it."""
        along = (end - coordinate).astype(np.float32)[:, None] * self._shells.axes
        near = on & (np.linalg.norm(along, axis=1) < _SNAP * self._spacing_m)
        worn.slide[near] = along[near]

    def _edge(self, coordinate: FloatArray, end: float, on: BoolArray) -> BoolArray:
        """(V',) the last row of vertices before a hem, which is thicker."""
        distance_m = np.abs(np.float32(end) - coordinate) * np.linalg.norm(self._shells.axes, axis=1)
        return np.asarray(on & (distance_m < 1.2 * self._spacing_m))

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
        size = _FOLD_M * latent.z_prime["folds"]["size"] * worn.loose
        return np.asarray(self._normals * (size * waves)[:, None], np.float32)


class _Worn:
    """What has been put on.

    Attributes:
        field: (V', 3) displacement.
        slide: (V', 3) of vertices onto hems, along the skin.
        loose: (V',) fit of the outermost cloth, 0…2; 0 on skin.
    """

    def __init__(self, normals: FloatArray, count: int) -> None:
        self._normals = normals
        self.field, self.slide = np.zeros((count, 3), np.float32), np.zeros((count, 3), np.float32)
        self.loose = np.zeros(count, np.float32)

    def put(
        self,
        inside: BoolArray,
        field: FloatArray,
        edge: BoolArray | bool = False,
        loose: float = 0.0,
        over: bool = True,
    ) -> None:
        """Puts a garment over what is beneath; its edge is thicker."""
        height, beneath = (np.einsum("vd,vd->v", each, self._normals) for each in (field, self.field))
        covered = np.linalg.norm(self.field, axis=1) > 1e-3
        least = np.where(covered & inside, beneath + _OVER_M, -1.0) if over else np.full(len(height), -1.0)
        lift = np.maximum(least - height, 0) + _HEM_M * (edge & inside)
        put_on = field + self._normals * lift[:, None].astype(np.float32)
        self.field[inside], self.loose[inside] = put_on[inside], loose


def _quantile(names: tuple[str, ...], normal: float) -> str:
    """One of the names by a standard normal number."""
    share = 1 / (1 + np.exp(-1.702 * normal))
    return names[min(int(share * len(names)), len(names) - 1)]
