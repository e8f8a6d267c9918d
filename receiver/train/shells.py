"""Makes the shells that generated outfits are cut from: `receiver/outfits/shells.npz`.

Cloth is a membrane: the skin is moved outwards by the least distance of a fit, then smoothed again and again without
coming closer, so that it spans hollows instead of following the muscles.  Skirts, hair, hats and shoes are the bindings
of the wardrobe's garments on the mean body.  Nothing is trained; it takes half a minute.

Examples:
  python -m receiver.train.shells --out /tmp/shells.npz
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial import ConvexHull

from common.arrays import BoolArray, Float64Array, FloatArray
from common.body.anatomy import JOINT_INDEX, REGION_INDEX
from common.body.connectivity import neighbour_mean
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.io.command_line import parser_of
from common.synthetic.assets.alteration import tailor
from common.synthetic.assets.appearance import Appearance, Borders, sample_appearance
from common.synthetic.assets.body_canvas import Canvas
from common.synthetic.assets.garment import Tailoring
from common.synthetic.assets.outfit import Outfit, paint
from common.synthetic.assets.wardrobe import Wardrobe
from common.synthetic.clothed.binding import load_bindings
from common.synthetic.clothed.displacement import OutfitDisplacer
from common.synthetic.renderer.renderer import Renderer
from receiver.outfits.shells import FITS, SHELLS_FILE, STEP_M

_BARE = ("face", "scalp", "hand.L", "hand.R", "foot.L", "foot.R")
_TOP_OF_CLOTH = 1.12
"""Cloth ends there, up the torso."""


@dataclass(frozen=True)
class Fit:
    """How far cloth keeps from the skin, metres, and how stiff it is.

    Args:
        arm, leg: further distance per unit of the limb's coordinate.
        rounds: of smoothing.
        hang: share of the way from the membrane to the outline of the trunk, which hangs from the chest.
    """

    torso_m: float
    arm_m: float
    leg_m: float
    rounds: int
    hang: float


_FITS = {
    "tight": Fit(0.004, 0.0, 0.0, 20, 0.5),
    "regular": Fit(0.007, 0.002, 0.004, 120, 0.6),
    "loose": Fit(0.013, 0.007, 0.012, 200, 1.0),
}
# Slices of the trunk, up the torso, and how much of its width hanging cloth may lose from one to the next.
_SLICES, _DIRECTIONS = np.linspace(0.85, -0.25, 34), 48
_NARROWING = 0.985
_NORMAL_ROUNDS, _FILLING_ROUNDS = 6, 200
# Least volume of hair, metres, by the garment's name.
_HAIR_M = {"afro01": 0.030, "long01": 0.012, "bob01": 0.014, "bob02": 0.014, "ponytail01": 0.008, "braid01": 0.008}
_SHORT_HAIR_M = 0.014
_HAIR_ROUNDS = 3
# Ears are farther from the middle than this share of the head's half width.
_EARS, _FLATTENING_ROUNDS = 0.7, 300
_OVER_EARS = ("bob01", "bob02", "long01", "braid01")
_BROW_M, _FACE_Z_M = 0.085, -0.06
_SKIRTS = {"straight": 0.015, "wide": 0.11}
_SHOES = ("shoes01", "shoes02", "shoes03")
# Twice the overlap of the two halves of a skirt in the middle.
_OVERLAP_M = 0.008
_CROTCH_M = 0.045
# Shoes reach so high up the foot, and fade out over so much of it; their middle line, and its distance from the ends.
_ANKLE_M, _FADE_M, _MIDDLE_M, _FOOT_END_M, _LEATHER_M = 0.085, 0.025, 0.035, 0.035, 0.004
_BENEATH_M = 0.02


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
        self._bare = _bare()

    def cloth(self, fit: Fit) -> FloatArray:
        """(V', 3) displacement of a suit from neck to wrists and ankles."""
        inside = ~self._bare_skin() & (self.limb[:, 2] < _TOP_OF_CLOTH)
        arm, leg = np.clip(self.limb[:, 0], 0, 2), np.clip(self.limb[:, 1], 0, 2)
        least_m = fit.torso_m + fit.arm_m * arm + fit.leg_m * leg
        return self._membrane(inside, least_m, fit.rounds)

    def hanging(self, fit: Fit) -> FloatArray:
        """(V', 3) from the suit's trunk to the outline that hangs from the chest."""
        inside = ~self._bare_skin() & (self.limb[:, 2] < _TOP_OF_CLOTH)
        return np.float32(fit.hang) * self._hanging(inside, self.cloth(fit))

    def _hanging(self, inside: BoolArray, field: FloatArray) -> FloatArray:
        """(V', 3) horizontal displacement from cloth (V', 3) to the convex outline of the trunk, which hangs down."""
        position, torso = self.template.rest + field, self.limb[:, 2]
        body = inside & (self.limb[:, 0] < 0)
        trunk = body & (self.limb[:, 1] < 0.3) & (torso < _SLICES[0])
        angles = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
        outward = np.stack([np.sin(angles), np.cos(angles)], 1)
        between = outward @ outward.T
        centre = np.array([0.0, float(np.median(position[trunk, 2]))])
        radii: list[Float64Array] = []
        for level in _SLICES:
            near = position[body & (np.abs(torso - level) < 0.04)][:, [0, 2]] - centre
            support = (near @ outward.T).max(0)
            radius = np.where(between > 0.2, support / np.maximum(between, 0.2), np.inf).min(1)
            radii.append(np.maximum(radius, radii[-1] * _NARROWING) if radii else radius)
        offset = position[:, [0, 2]] - centre
        own = np.linalg.norm(offset, axis=1)
        turn = np.arctan2(offset[:, 0], offset[:, 1]) % (2 * np.pi) / (2 * np.pi) * _DIRECTIONS
        row = np.interp(-torso, -_SLICES, np.arange(len(_SLICES)))
        table = np.concatenate([np.stack(radii), np.stack(radii)[:, :1]], 1)
        wanted = map_coordinates(table, np.stack([row, turn]), order=1)
        # It fades out where the legs and the arms begin.
        fade = np.clip((0.3 - self.limb[:, 1]) / 0.3, 0, 1) * np.clip((_SLICES[0] - torso) / 0.25, 0, 1) * trunk
        move = np.zeros_like(field)
        move[:, [0, 2]] = offset * (np.maximum(wanted / np.maximum(own, 1e-6) - 1, 0) * fade)[:, None]
        for _ in range(3):
            move[trunk] = (0.5 * move + 0.5 * (self._mean @ move))[trunk]
        return move.astype(np.float32)

    def skirt(self, flare_m: float) -> FloatArray:
        """(V', 3) displacement of a skirt from the waist to the ankles."""
        made = Tailoring(loose_m=0.008, leg_flare_m=flare_m, leg_end=1.88, waist=0.3)
        field = self._worn("made_skirt", made).astype(np.float64)
        moved, leg = np.linalg.norm(field, axis=1) > 1e-3, self.limb[:, 1] > 0
        smooth = field.copy()
        below = (self.limb[:, 0] < 0) & (self.limb[:, 2] < 0.27) & (self.limb[:, 1] < 1.85)
        gap = below & ~moved & ~self._bare_skin()
        moved |= gap
        for _ in range(_FILLING_ROUNDS):
            smooth[gap] = (self._mean @ smooth)[gap]
        for _ in range(6):
            smooth[moved & ~leg] = (self._mean @ smooth)[moved & ~leg]
        self._close_crotch(smooth, moved)
        x = self.template.rest[:, 0] + smooth[:, 0]
        side = np.sign(self.template.rest[:, 0])
        # The halves meet in the middle; there they go a little beyond it, or daylight shows between them.
        inner = moved & leg & (side * x < _OVERLAP_M)
        smooth[inner, 0] = (-side * _OVERLAP_M - self.template.rest[:, 0])[inner]
        return smooth.astype(np.float32)

    def _close_crotch(self, field: Float64Array, moved: BoolArray) -> None:
        """Moves what is between the legs onto the front and the back of a skirt."""
        rest = self.template.rest
        middle = moved & (np.abs(rest[:, 0]) < _CROTCH_M) & (np.abs(self.limb[:, 2] + 0.02) < 0.13)
        position = rest + field
        centre = float(np.median(rest[middle, 2]))
        for vertex in np.flatnonzero(middle):
            level = moved & (np.abs(position[:, 1] - position[vertex, 1]) < 0.03) & (np.abs(rest[:, 0]) < 2 * _CROTCH_M)
            depth = position[level, 2]
            field[vertex, 2] = (depth.min() if rest[vertex, 2] < centre else depth.max()) - rest[vertex, 2]

    def hair(self, name: str) -> FloatArray:
        """(V', 3) displacement of hair, with at least its volume on the scalp."""
        field = self._worn(name).astype(np.float64)
        moved = np.linalg.norm(field, axis=1) > 1e-3
        self._free_face(field, moved)
        least = _HAIR_M.get(name, _SHORT_HAIR_M)
        # A hairline that is no wall: the volume grows over three rings.
        share = moved.astype(np.float64)
        for _ in range(3):
            share = np.where(moved, self._mean @ share, 0)
        for _ in range(_HAIR_ROUNDS):
            field[moved] = (0.5 * field + 0.5 * (self._mean @ field))[moved]
        height = np.einsum("vd,vd->v", field, self.normals)
        if name in _OVER_EARS:
            self._cover_ears(field, moved)
        scalp = moved & (self.limb[:, 2] > 1.1)
        field += self.normals * (np.maximum(least * share - height, 0) * scalp)[:, None]
        return field.astype(np.float32)

    def _cover_ears(self, field: Float64Array, moved: BoolArray) -> None:
        """Flattens the ears beneath hair, which lies over them."""
        rest, head = self.template.rest, self.limb[:, 3] > 0
        side = np.abs(rest[:, 0]) > _EARS * float(np.abs(rest[head, 0]).max())
        ears = head & side & (moved | (self._mean @ moved.astype(np.float64) > 0))
        position = rest + field
        for _ in range(_FLATTENING_ROUNDS):
            position[ears] = (self._mean @ position)[ears]
        field[ears] = (position - rest)[ears]

    def _free_face(self, field: Float64Array, moved: BoolArray) -> None:
        """No hair hangs over the eyes: the template is too dense there to bear it."""
        rest, head = self.template.rest, self.limb[:, 3] > 0
        brow_m = float(rest[head, 1].min()) + _BROW_M
        face = moved & head & (rest[:, 2] < _FACE_Z_M) & (rest[:, 1] > brow_m)
        field[face], moved[face] = 0, False

    def shoes(self, name: str) -> FloatArray:
        """(V', 3) displacement of shoes, symmetric: the convex hull of each foot, which bridges the toes."""
        field = self._worn(name)
        mirrored = field[self.template.mirror] * np.array([-1, 1, 1], np.float32)
        longer = np.linalg.norm(mirrored, axis=1) > np.linalg.norm(field, axis=1)
        position = np.asarray(self.template.rest + np.where(longer[:, None], mirrored, field), np.float64)
        for region in ("foot.L", "foot.R"):
            self._bridge(position, self.template.region == REGION_INDEX[region])
        return (position - self.template.rest).astype(np.float32)

    def _bridge(self, position: Float64Array, foot: BoolArray) -> None:
        """Moves what is below the ankle onto the convex hull of it, away from the middle line of the foot."""
        skin = self.template.rest[foot].astype(np.float64)
        height = skin[:, 1].max() - skin[:, 1]
        hull = ConvexHull(
            np.concatenate([position[foot], skin + _LEATHER_M * self.normals[foot]])[np.tile(height, 2) < _ANKLE_M]
        )
        ends = skin[:, 2].min() + _FOOT_END_M, skin[:, 2].max() - _FOOT_END_M
        middle = np.stack(
            [
                np.full(len(skin), skin[:, 0].mean()),
                np.full(len(skin), skin[:, 1].max() - _MIDDLE_M),
                np.clip(skin[:, 2], *ends),
            ],
            1,
        )
        outward = skin - middle
        normals, offsets = hull.equations[:, :3], hull.equations[:, 3]
        towards = outward @ normals.T
        reach = np.where(towards > 1e-9, -(middle @ normals.T + offsets) / np.maximum(towards, 1e-9), np.inf).min(1)
        # What faces the next toe lies beneath, or it would be seen from behind.
        length = np.linalg.norm(outward, axis=1)
        facing = np.einsum("vd,vd->v", outward, self.normals[foot]) / length
        reach -= np.clip(0.5 - facing, 0, 0.5) * _BENEATH_M / length
        share = np.clip((_ANKLE_M - height) / _FADE_M, 0, 1)[:, None]
        position[foot] += share * (middle + outward * reach[:, None] - position[foot])

    def _smooth_normals(self, rounds: int) -> Float64Array:
        """(V', 3) normals that follow no fold: where skin folds, its own normals point into the fold."""
        normals = self.normals
        for _ in range(rounds):
            normals = self._mean @ normals
        return np.asarray(normals / np.linalg.norm(normals, axis=1, keepdims=True), np.float64)

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

    def _worn(self, name: str, tailoring: Tailoring | None = None) -> FloatArray:
        garment = next(each for each in self.wardrobe.all() if each.name == name)
        made = garment if tailoring is None else tailor(garment, self.wardrobe.canvas, tailoring)
        outfit = Outfit(self._bare, ((made, paint(self._bare, made.kind)),))
        return self.displacer.displace(outfit, np.zeros(10, np.float32)).displacement

    def _membrane(self, inside: BoolArray, least_m: Float64Array | FloatArray, rounds: int) -> FloatArray:
        rest, normals = self.template.rest.astype(np.float64), self._smooth_normals(_NORMAL_ROUNDS)
        position = rest + normals * (least_m * inside)[:, None]
        # Among itself and across the limb: what is beside the cloth, or nothing, would draw its ends in.
        share = np.maximum(self._mean @ inside.astype(np.float64), 1e-9)[:, None]
        along = self.axes().astype(np.float64)
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        for _ in range(rounds):
            step = (self._mean @ (position * inside[:, None])) / share - position
            step -= along * np.einsum("vd,vd->v", step, along)[:, None]
            position = np.where(inside[:, None], position + step, rest)
            height = np.einsum("vd,vd->v", position - rest, normals)
            position += normals * (np.maximum(least_m - height, 0) * inside)[:, None]
        return np.asarray(position - rest, np.float32)


def _bare() -> Appearance:
    appearance = sample_appearance(np.random.default_rng(0))
    finish = appearance.finish.copy()
    finish[:, 2] = 0.0
    return replace(appearance, finish=finish, borders=Borders(hairline_front=-2.0))


def main() -> None:
    parser = parser_of("python -m receiver.train.shells", __doc__)
    parser.add_argument("--out", type=Path, default=SHELLS_FILE, help="file to write (default: the package's)")
    arguments = parser.parse_args()
    maker = ShellMaker()
    shells = {f"cloth.{name}": maker.cloth(_FITS[name]) for name in FITS}
    shells |= {f"hang.{name}": maker.hanging(_FITS[name]) for name in FITS}
    shells |= {f"skirt.{name}": maker.skirt(flare_m) for name, flare_m in _SKIRTS.items()}
    hair = [garment.name for garment in maker.wardrobe.all() if garment.kind.value == "hair"]
    shells |= {f"hair.{name}": maker.hair(name) for name in hair}
    shells |= {f"shoes.{name}": maker.shoes(name) for name in _SHOES}
    stored = {name: np.rint(field / STEP_M).astype(np.int16) for name, field in shells.items()}
    np.savez_compressed(arguments.out, limb=maker.limb.astype(np.float16), axes=maker.axes(), **stored)
    print(f"{arguments.out.name}: {len(shells)} shells, {arguments.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
