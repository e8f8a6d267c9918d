"""Makes the shells that generated outfits are cut from: `receiver/outfits/shells.npz`.

Suits, long hair and shoes are garments of the wardrobe on the mean body, to which the template is bound.  A skirt is
the convex outline of hips and legs, or of a dress around them, which hangs down.  Short hair, and more shoes, are
measured on clothed avatars (`receiver.train.avatars`); other garments are MakeHuman's (`receiver.train.garments`).
Nothing is trained; it takes half a minute.

Examples:
  python -m receiver.train.shells --avatars rocketbox --garments garments --out /tmp/shells.npz
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d, map_coordinates
from scipy.spatial import ConvexHull

from common.arrays import BoolArray, Float64Array, FloatArray
from common.body.anatomy import JOINT_INDEX, REGION_INDEX
from common.body.connectivity import neighbour_mean
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.io.command_line import parser_of
from common.synthetic.assets.appearance import HAIR, Appearance, Borders, sample_appearance
from common.synthetic.assets.body_canvas import Canvas
from common.synthetic.assets.outfit import Outfit, paint
from common.synthetic.assets.wardrobe import Wardrobe
from common.synthetic.clothed.binding import load_bindings
from common.synthetic.clothed.displacement import OutfitDisplacer
from common.synthetic.renderer.renderer import Renderer
from common.texture.atlas import AtlasLayout
from receiver.outfits.shells import SHELLS_FILE, STEP_M
from receiver.texture.face_detail import FaceDetail
from receiver.train.avatars import Avatar, aligned_head, aligned_shoe, has_eyes, reach, read_avatars
from receiver.train.garments import GarmentReader

_MEAN_SHAPE = np.zeros(10, np.float32)
_BARE = ("face", "scalp", "hand.L", "hand.R", "foot.L", "foot.R")


_SUITS = (
    "made_suit",
    "male_casualsuit01",
    "male_casualsuit04",
    "male_casualsuit05",
    "male_elegantsuit01",
    "male_worksuit01",
    "female_casualsuit01",
    "female_elegantsuit01",
)
# The suit that is made to measure follows the skin; above that height up the torso it is spanned.
_SKIN_TIGHT, _SPAN_FROM, _SPANNING_ROUNDS = "made_suit", 0.25, 60
# The skirt: how far down the torso it begins and over how much of it it comes off the skin, rows and directions of its
# outline, how much of its width it may lose from one row to the next, and its distance from the skin.
_WAIST, _ROWS, _DIRECTIONS, _NARROWING, _SKIRT_M = 0.36, 48, 64, 0.995, 0.006
# Legs are told from the trunk up to so far above the crotch; this share of the way around them the halves of the skirt
# meet, and go on for so many radians, the more beneath each other.
_ABOVE_CROTCH_M, _TOGETHER, _PAST, _BENEATH_OVERLAP_M = 0.10, 0.75, 0.3, 0.005
_PASSED = np.pi / 2 + _PAST
# A vertex sticks out that is so many distances between vertices away from the middle of its neighbours.
_UNTANGLING_ROUNDS, _STICKS_OUT = 12, 0.6
# Suits that reach so far down the leg are lengthened to the second of these, but not to lower on the foot.
_TROUSERS, _ANKLE, _TROUSERS_M, _SHOE_TOP_M = 1.9, 2.06, 0.004, 0.06
_TIED, _TIED_AVATARS = ("ponytail01", "braid01"), ("Medical_Female_03",)
_BROW_M, _FACE_Z_M = 0.085, -0.06
# Ears are so far to the side, and begin so far back.
_EARS_M = (0.074, -0.085)
_SHOES = ("shoes01", "shoes02", "shoes03")
_AVATAR_SHOES = ("Male_Adult_14", "Male_Adult_18", "Business_Male_02", "Sports_Male_04", "Female_Adult_06")
# Garments that are no part of the wardrobe: dresses that skirts are as wide as, and shoes.
_DRESSES, _GARMENT_SHOES = ("f_dress_02",), ("runningshoes",)
_NO_POINTS = np.zeros((0, 3))
_LEAST_HAIR_M = 0.008
# Hair thins out over so many rings before the face, by so much.
_FRINGE_RINGS, _FRINGE = 12, 2.5
# Short hair: how voluminous it is among the avatars, as a share of them.  The least is as thick as its edge: what else
# the avatars are beyond the skull is that theirs is another one.  The last is what is left of it between locks.
_SHORT = {"close": 0.4, "short": 0.65, "full": 0.85, "long_on_top": 0.97}
_LEAST, _EDGE_M, _HIGHEST_M, _LEAST_M = 0.1, 0.008, 0.05, 0.002
# Short hair is combed back from a parting: how high its locks are, how wide, and how far they bend; the least share of
# the height at the hairline, where locks end; and how much fuller one side is, from so far beside the middle.
_LOCK_M, _LOCK_WIDTH_M, _LOCK_BEND = 0.0065, 0.042, 0.35
_AT_HAIRLINE, _HAIRLINE_RINGS, _FULLER, _PARTING_M = 0.3, 2, 0.35, 0.03
# The middle of the skull is so far below its top, and so far before the middle of the scalp.
_SKULL_M, _SKULL_BACK_M = 0.115, 0.012
# Shoes reach so high up the foot, and fade out over so much of it.  Their middle line, how high it is from toes to
# heel, and its distance from the ends; leather is so thick, and so much thicker over the toes and at the collar.
_ANKLE_M, _FADE_M, _FOOT_END_M, _LEATHER_M = 0.088, 0.008, 0.033, 0.004
_MIDDLE, _MIDDLE_M = (0.0, 0.3, 1.0), (0.010, 0.018, 0.035)
_TOE_BOX_M, _TOES_M, _BENEATH_M = 0.014, 0.10, 0.012
_RISING_M, _COLLAR_M = 0.03, 0.005
_ROUNDING = 2


class ShellMaker:
    """Dresses the mean body."""

    def __init__(self) -> None:
        self.model = BodyModel.load()
        renderer = Renderer(Canvas.from_model(self.model))
        self.wardrobe = Wardrobe.load(renderer.canvas)
        self.displacer = OutfitDisplacer(self.model, renderer, load_bindings())
        self.template: BodyTemplate = self.displacer.template
        self.limb = np.asarray(renderer.canvas.limb[self.template.kept], np.float32)
        self.normals = self.template.vertex_normals(self.template.rest).astype(np.float64)
        self._mean = neighbour_mean(self.template.adjacency)
        self._spacing_m = np.sqrt(1.15 * self.template.areas)
        self._bare = _bare()

    def suit(self, name: str) -> FloatArray:
        """(V', 3) displacement of a suit, from neck to wrists and ankles if it is as long."""
        field = self._worn(name).astype(np.float64)
        if name == _SKIN_TIGHT:
            field = self._spanned(field)
        return self._untangled(self._to_shoes(field), np.linalg.norm(field, axis=1) > 1e-3)

    def _to_shoes(self, field: Float64Array) -> Float64Array:
        """Lengthens trousers to the ankle: those of avatars end there."""
        leg, rest = self.limb[:, 1], self.template.rest
        bare = np.linalg.norm(field, axis=1) < 1e-3
        if leg[~bare].max() < _TROUSERS:
            return field
        high = rest[self._left_foot(), 1].max() - rest[:, 1] > _SHOE_TOP_M
        lengthened = bare & (leg > _TROUSERS - 0.1) & (leg < _ANKLE) & high
        field[lengthened] = _TROUSERS_M * self.normals[lengthened]
        return field

    def _spanned(self, field: Float64Array) -> Float64Array:
        """Spans the hollows of the trunk: cloth does not follow the chest into them."""
        trunk = (np.linalg.norm(field, axis=1) > 1e-3) & (self.limb[:, 0] < 0) & (self.limb[:, 2] > _SPAN_FROM)
        for _ in range(_SPANNING_ROUNDS):
            step = self._mean @ (self.template.rest + field) - self.template.rest - field
            out = np.maximum(np.einsum("vd,vd->v", step, self.normals), 0) * trunk
            field = field + self.normals * out[:, None]
        return field

    def skirt(self, cloth: Float64Array = _NO_POINTS) -> FloatArray:
        """(V', 3) displacement of a skirt from waist to ankles, as narrow as hips, legs and cloth (n, 3) allow."""
        rest, leg = self.template.rest.astype(np.float64), self.limb[:, 1]
        inside = (self.limb[:, 0] < 0) & (self.limb[:, 2] < _WAIST) & (leg < 1.97) & ~self._bare_skin()
        rows_m = np.linspace(rest[inside, 1].min(), rest[inside, 1].max(), _ROWS)
        middle_m = float(np.median(rest[inside & (leg <= 0), 2]))
        side = np.where(rest[:, 0] < 0, -1.0, 1.0)
        angle = self._around(inside, side, rows_m, middle_m)
        row = np.interp(rest[:, 1], rows_m, np.arange(_ROWS))
        past = np.maximum(np.abs(angle) - np.pi / 2, 0)
        turn = ((angle - 2 * np.sign(angle) * past) / np.pi + 0.5) * (_DIRECTIONS - 1)
        radius_m = map_coordinates(self._outline(inside, rows_m, middle_m, cloth), np.stack([row, turn]), order=1)
        # The halves lie over each other where they meet, and their ends beneath, or there would be a groove.
        depth = radius_m * np.sin(angle) - np.sign(angle) * _BENEATH_OVERLAP_M * past / _PAST
        field = np.zeros_like(rest)
        field[:, 0] = side * radius_m * np.cos(angle) - rest[:, 0]
        field[:, 2] = middle_m + depth - rest[:, 2]
        field *= inside[:, None]
        if not len(cloth):
            return field.astype(np.float32)
        # In front of the crotch, the halves of a wide skirt would be apart.
        return self._untangled(field, inside & (leg <= 0) & (rest[:, 2] < middle_m))

    def _around(self, inside: BoolArray, side: Float64Array, rows_m: Float64Array, middle_m: float) -> Float64Array:
        """(V',) the direction of each vertex on its half of the skirt: −π/2 front, 0 outwards, π/2 back."""
        rest, leg = self.template.rest.astype(np.float64), self.limb[:, 1]
        of_trunk = np.arctan2(rest[:, 2] - middle_m, np.abs(rest[:, 0]))
        legs = inside & (leg > 0)
        crotch_m = float(rest[inside & (leg <= 0), 1].max())
        axis = np.empty((2, _ROWS))
        for number, level in enumerate(rows_m):
            near = legs & (np.abs(rest[:, 1] - max(level, crotch_m)) < 0.03)
            axis[:, number] = np.abs(rest[near, 0]).mean(), rest[near, 2].mean()
        across, depth = (np.interp(rest[:, 1], rows_m, each) for each in axis)
        of_leg = np.arctan2(rest[:, 2] - depth, np.abs(rest[:, 0]) - across) / (2 * _TOGETHER)
        share = np.clip((rest[:, 1] - crotch_m) / _ABOVE_CROTCH_M + 1, 0, 1)
        return np.asarray((of_trunk + share * (of_leg - of_trunk)).clip(-_PASSED, _PASSED))

    def _outline(self, inside: BoolArray, rows_m: Float64Array, middle_m: float, cloth: Float64Array) -> Float64Array:
        """(rows, directions) distance of the skirt from the middle, on one side: convex, and hardly narrower below."""
        rest = np.concatenate([self.template.rest[inside].astype(np.float64), cloth])
        angles = np.linspace(-np.pi / 2, np.pi / 2, _DIRECTIONS)
        outward = np.stack([np.cos(angles), np.sin(angles)], 1)
        between = outward @ outward.T
        radii: list[Float64Array] = []
        # Dresses end above the ankles: from there on, the skirt is as wide as they are.  They have folds.
        narrowing, smooth = (1.0, 4.0) if len(cloth) else (_NARROWING, 1.0)
        for level in rows_m:
            near = rest[np.abs(rest[:, 1] - level) < 0.02]
            support = (np.stack([np.abs(near[:, 0]), near[:, 2] - middle_m], 1) @ outward.T).max(0) + _SKIRT_M
            radius = np.where(between > 0.2, support / np.maximum(between, 0.2), np.inf).min(1)
            radii.append(np.maximum(radius, radii[-1] * narrowing) if radii else radius)
        return np.asarray(gaussian_filter1d(np.stack(radii), smooth, axis=0), np.float64)

    def avatar_hair(self, avatars: Sequence[Avatar]) -> dict[str, FloatArray]:
        """Name → (V', 3) displacement of short and tied hair: how far avatars reach beyond the skull."""
        rest, hair = self.template.rest.astype(np.float64), self._hairline()
        scalp = rest[self.template.region == REGION_INDEX["scalp"]]
        middle = np.array([0, scalp[:, 1].min() + _SKULL_M, scalp[:, 2].mean() - _SKULL_BACK_M])
        outward = rest[hair] - middle
        length_m = np.linalg.norm(outward, axis=1)
        eyes, nose_m = self._eyes(), float(rest[self.limb[:, 3] > 0, 2].min())
        height_m: dict[str, Float64Array] = {}
        for avatar in avatars:
            far = reach(np.broadcast_to(middle, outward.shape), outward, aligned_head(avatar, eyes, nose_m))
            height_m[avatar.name] = np.where(far > 0, far - 1, 0) * length_m
        short_m = [height_m[each.name] for each in avatars if each.attributes["hair"] == "short"]
        least_m = np.quantile(short_m, _LEAST, axis=0)
        cut_m = {name: np.quantile(short_m, share, axis=0) for name, share in _SHORT.items()}
        cut_m |= {name: height_m[name] for name in _TIED_AVATARS}
        unit, shells = outward / length_m[:, None], {}
        locks, share = self._locks(outward, hair)
        for name, each_m in cut_m.items():
            height = np.zeros(len(rest))
            height[hair] = np.clip(each_m - least_m, 0, _HIGHEST_M)
            height = np.where(hair, 0.5 * height + 0.5 * (self._mean @ height), 0)[hair] + _EDGE_M
            height = share * height + _LOCK_M * locks * np.clip(height / _EDGE_M, 0.3, 1)
            field = np.zeros_like(rest)
            field[hair] = unit * np.maximum(height, _LEAST_M)[:, None]
            shells[f"hair.{name}"] = field.astype(np.float32)
        return shells

    def _locks(self, outward: Float64Array, hair: BoolArray) -> tuple[Float64Array, Float64Array]:
        """(n,) the profile of locks, −1…1, and the share of the height, of hair at (n, 3) from the skull's middle."""
        side, _, back = outward.T
        across_m = side + _LOCK_BEND * back - _PARTING_M
        locks = np.sin(2 * np.pi * across_m / _LOCK_WIDTH_M) * (0.75 + 0.25 * np.sin(40 * back))
        inner = hair.astype(np.float64)
        for _ in range(_HAIRLINE_RINGS):
            inner = np.where(hair, self._mean @ inner, 0)
        # Between locks, the hairline is thinner.
        at_edge = 1 - np.clip(2 * (inner[hair] - 0.4), 0, 1)
        thinned = 1 - at_edge * (1 - _AT_HAIRLINE) * (0.5 - 0.5 * locks)
        return locks, thinned * (1 + _FULLER * np.tanh(-across_m / 0.02))

    def _eyes(self) -> Float64Array:
        """(3,) the middle of the eyes."""
        face = FaceDetail(self.model, self.template, AtlasLayout.from_body(self.model))
        return np.asarray(face.places(self.template.rest).centres[:2].mean(0), np.float64)

    def _hairline(self) -> BoolArray:
        """(V',) what is beneath short or tied hair."""
        finish = self._bare.finish.copy()
        finish[HAIR, 2] = _EDGE_M
        borders = Borders(hairline_front=-0.72, hairline_side=0.1, hairline_back=0.45, beard=0.0)
        clothed = self.displacer.displace(Outfit(replace(self._bare, finish=finish, borders=borders), ()), _MEAN_SHAPE)
        rest = self.template.rest
        ears = (np.abs(rest[:, 0]) > _EARS_M[0]) & (rest[:, 2] > _EARS_M[1])
        return np.asarray((clothed.material == HAIR) & (self.limb[:, 3] > 0) & ~ears)

    def hair(self, name: str) -> FloatArray:
        """(V', 3) displacement of hair, which leaves the eyes free."""
        field = self._worn(name).astype(np.float64)
        moved = np.linalg.norm(field, axis=1) > 1e-3
        free = self._free_face(field, moved)
        # Hair that is cut off before the eyes gets thin there: it would be a ledge.
        near = free.astype(np.float64)
        for _ in range(_FRINGE_RINGS):
            near = np.maximum(near, self._mean @ near)
        field *= (1 - np.clip(_FRINGE * near, 0, 1))[:, None]
        # A hairline that is no wall: the least volume is reached over two rings.
        share = moved.astype(np.float64)
        for _ in range(2):
            share = np.where(moved, self._mean @ share, 0)
        height = np.einsum("vd,vd->v", field, self.normals)
        scalp = moved & (self.template.region == REGION_INDEX["scalp"])
        field += self.normals * (np.maximum(_LEAST_HAIR_M * share - height, 0) * scalp)[:, None]
        # What is tied sticks out.
        return np.asarray(field, np.float32) if name in _TIED else self._untangled(field, moved)

    def _untangled(self, field: Float64Array, moved: BoolArray) -> FloatArray:
        """Moves vertices that stick out to the middle of their neighbours: behind ears, in folds."""
        position = self.template.rest + field
        for _ in range(_UNTANGLING_ROUNDS):
            middle = self._mean @ position
            out = moved & (np.linalg.norm(position - middle, axis=1) > np.maximum(_STICKS_OUT * self._spacing_m, 0.004))
            position[out] = middle[out]
        return np.asarray(position - self.template.rest, np.float32)

    def _free_face(self, field: Float64Array, moved: BoolArray) -> BoolArray:
        """(V',) where no hair hangs over the eyes any more: the template is too dense there to bear it."""
        rest, head = self.template.rest, self.limb[:, 3] > 0
        brow_m = float(rest[head, 1].min()) + _BROW_M
        face = moved & head & (rest[:, 2] < _FACE_Z_M) & (rest[:, 1] > brow_m)
        field[face], moved[face] = 0, False
        return np.asarray(face)

    def shoes(self, name: str) -> FloatArray:
        """(V', 3) displacement of shoes of the wardrobe."""
        field = self._worn(name)
        mirrored = field[self.template.mirror] * np.array([-1, 1, 1], np.float32)
        longer = np.linalg.norm(mirrored, axis=1) > np.linalg.norm(field, axis=1)
        position = np.asarray(self.template.rest + np.where(longer[:, None], mirrored, field), np.float64)
        return self._shod(position[self._left_foot()])

    def garment_shoes(self, points: Float64Array) -> FloatArray:
        """(V', 3) displacement of shoes of which points (n, 3) are given."""
        side = np.sign(self.template.rest[self._left_foot(), 0].mean())
        return self._shod(points[np.sign(points[:, 0]) == side])

    def avatar_shoes(self, avatar: Avatar) -> FloatArray:
        """(V', 3) displacement of the shoes of an avatar."""
        return self._shod(aligned_shoe(avatar, self.template.rest[self._left_foot()].astype(np.float64)))

    def _left_foot(self) -> BoolArray:
        return np.asarray(self.template.region == REGION_INDEX["foot.L"])

    def _shod(self, shoe: Float64Array) -> FloatArray:
        """(V', 3) displacement of both feet to the convex hull of the left shoe (n, 3), which bridges the toes."""
        foot = self._left_foot()
        skin, normals = self.template.rest[foot].astype(np.float64), self.normals[foot]
        ground_m, toes_m = skin[:, 1].max(), skin[:, 2].min()
        height = ground_m - skin[:, 1]
        over_toes = np.clip((toes_m + _TOES_M - skin[:, 2]) / _TOES_M, 0, 1) * (normals[:, 1] < 0)
        collar = np.clip((height - _ANKLE_M) / _RISING_M + 1, 0, 1)
        leather = skin + normals * (_LEATHER_M + _TOE_BOX_M * over_toes + _COLLAR_M * collar)[:, None]
        around = np.concatenate([shoe, leather])
        hull = ConvexHull(around[ground_m - around[:, 1] < _ANKLE_M])
        share = (skin[:, 2] - toes_m) / np.ptp(skin[:, 2])
        along = np.clip(skin[:, 2], toes_m + _FOOT_END_M, skin[:, 2].max() - _FOOT_END_M)
        middle_m = ground_m - np.interp(share, _MIDDLE, _MIDDLE_M)
        middle = np.stack([np.full(len(skin), skin[:, 0].mean()), middle_m, along], 1)
        outward = skin - middle
        planes, offsets = hull.equations[:, :3], hull.equations[:, 3]
        towards = outward @ planes.T
        far = np.where(towards > 1e-9, -(middle @ planes.T + offsets) / np.maximum(towards, 1e-9), np.inf).min(1)
        # What faces the next toe lies beneath, or it would be seen from behind.
        length = np.linalg.norm(outward, axis=1)
        facing = np.einsum("vd,vd->v", outward, normals) / length
        far -= np.clip(0.35 - facing, 0, 0.5) * _BENEATH_M / length
        shod = np.clip((_ANKLE_M - height) / _FADE_M, 0, 1)[:, None]
        position = self.template.rest.astype(np.float64)
        position[foot] += shod * (middle + outward * far[:, None] - skin)
        for _ in range(_ROUNDING):
            position[foot] += 0.5 * (shod == 1) * (self._mean @ position - position)[foot]
        field = (position - self.template.rest).astype(np.float32)
        return field + field[self.template.mirror] * np.array([-1, 1, 1], np.float32)

    def _bare_skin(self) -> BoolArray:
        return np.isin(self.template.region, [REGION_INDEX[name] for name in _BARE])

    def axes(self) -> FloatArray:
        """(V', 3) metres along the body per unit of the limb coordinate that says how far down the vertex is."""
        joint = self.model.rest_joints[0].cpu().numpy()
        hips, neck = joint[JOINT_INDEX["upperleg01.L"], 1], joint[JOINT_INDEX["neck01"], 1]
        axes = np.tile(np.array([0.0, neck - hips, 0.0], np.float32), (len(self.template), 1))
        chains = ((("upperarm01", "lowerarm01", "wrist"), 0), (("upperleg01", "lowerleg01", "foot"), 1))
        for side, sign in (("L", 1), ("R", -1)):
            on_side = np.sign(self.template.rest[:, 0]) == sign * np.sign(joint[JOINT_INDEX["wrist.L"], 0])
            for names, column in chains:
                first, middle, last = (joint[JOINT_INDEX[f"{name}.{side}"]] for name in names)
                on = on_side & (self.limb[:, column] >= 0)
                axes[on & (self.limb[:, column] < 1)] = middle - first
                axes[on & (self.limb[:, column] >= 1)] = last - middle
        return axes

    def _worn(self, name: str) -> FloatArray:
        garment = next(each for each in self.wardrobe.all() if each.name == name)
        outfit = Outfit(self._bare, ((garment, paint(self._bare, garment.kind)),))
        return self.displacer.displace(outfit, _MEAN_SHAPE).displacement


def _bare() -> Appearance:
    appearance = sample_appearance(np.random.default_rng(0))
    finish = appearance.finish.copy()
    finish[:, 2] = 0.0
    return replace(appearance, finish=finish, borders=Borders(hairline_front=-2.0))


def _shows_hair(avatar: Avatar) -> bool:
    bare = avatar.attributes["headwear"] == "none" and has_eyes(avatar)
    return bare and (avatar.attributes["hair"] == "short" or avatar.name in _TIED_AVATARS)


def main() -> None:
    parser = parser_of("python -m receiver.train.shells", __doc__)
    parser.add_argument("--avatars", type=Path, required=True, help="folder of clothed avatars with an index.json")
    parser.add_argument("--garments", type=Path, required=True, help="folder of more MakeHuman garments")
    parser.add_argument("--out", type=Path, default=SHELLS_FILE, help="file to write (default: the package's)")
    arguments = parser.parse_args()
    avatars, maker = list(read_avatars(arguments.avatars)), ShellMaker()
    shells = {f"suit.{name}": maker.suit(name) for name in _SUITS} | {"skirt": maker.skirt()}
    reader = GarmentReader(arguments.garments, maker.wardrobe.canvas)
    shells |= {f"skirt.{name}": maker.skirt(reader.points(name)) for name in _DRESSES}
    hair = [
        each.name for each in maker.wardrobe.all() if each.kind.value == "hair" and not each.name.startswith("short")
    ]
    shells |= {f"hair.{name}": maker.hair(name) for name in hair}
    shells |= maker.avatar_hair([each for each in avatars if _shows_hair(each)])
    shells |= {f"shoes.{name}": maker.shoes(name) for name in _SHOES}
    shells |= {f"shoes.{each.name}": maker.avatar_shoes(each) for each in avatars if each.name in _AVATAR_SHOES}
    shells |= {f"shoes.{name}": maker.garment_shoes(reader.points(name)) for name in _GARMENT_SHOES}
    stored = {name: np.rint(field / STEP_M).astype(np.int16) for name, field in shells.items()}
    np.savez_compressed(arguments.out, limb=maker.limb.astype(np.float16), axes=maker.axes(), **stored)
    print(f"{arguments.out.name}: {len(shells)} shells, {arguments.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
