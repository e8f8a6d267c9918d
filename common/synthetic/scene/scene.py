"""Crops of a person in clothes before a camera and a background, with exact ground truth.

Domain randomisation covers identity, pose, camera, clothes, light, background, occluders and degradations.
"""

from dataclasses import dataclass
from typing import Any, Self

import cv2
import numpy as np
import numpy.typing as npt
import torch
from numpy.random import Generator
from scipy.spatial.transform import Rotation

from common.arrays import BoolArray, ByteArray, FloatArray, IntArray
from common.body.anatomy import COCO_KEYPOINTS, REGION_INDEX, REGIONS
from common.body.model import BodyModel, BodyParameters, axis_angle_to_matrix, matrix_to_axis_angle
from common.synthetic.assets.appearance import Light, sample_appearance, sample_light
from common.synthetic.assets.garments import Canvas, Outfit, PosedSkeleton
from common.synthetic.assets.wardrobe import Wardrobe
from common.synthetic.dataset import WIDE, DatasetPreset, Split, check_seed, identity_rows
from common.synthetic.kinds import KindSampler
from common.synthetic.motion.poses import PoseBatch, PoseSampler
from common.synthetic.renderer import Figure, Renderer, Rendering, View, WornGarment
from common.synthetic.scene.backgrounds import BackgroundBank, colour, degrade
from common.wears import possible

_MIN_DISTANCE_M = 0.25
_UPPER = ("face", "scalp", "chest", "upper_arm.L", "upper_arm.R")
_ARMS = ("forearm.L", "forearm.R", "hand.L", "hand.R")
_CROP_KINDS: tuple[tuple[float, tuple[str, ...]], ...] = (
    # Share, and the regions that the crop is fitted to; other regions may be outside.
    (0.62, REGIONS),
    (0.06, ("face", "scalp", "chest")),
    (0.1, _UPPER),
    (0.12, (*_UPPER, *_ARMS, "hips")),
    (0.1, (*_UPPER, *_ARMS, "hips", "thigh.L", "thigh.R")),
    (0.0, ("face", "scalp")),
)
WHOLE, CLOSEUP = 0, 5


@dataclass(frozen=True)
class Framing:
    """A batch of virtual cameras whose principal points are the centres of the crops.

    Args:
        focal: (B,) focal lengths in crop widths.
        translation: (B, 3) positions of the root joints, metres.
        kind: (B,) index into `_CROP_KINDS`: `WHOLE`, `CLOSEUP` or another truncating crop.
        box: (B, 4) left, top, right, bottom of the regions that the crop is fitted to, in crop units.
    """

    focal: FloatArray
    translation: FloatArray
    kind: IntArray
    box: FloatArray


def sample_focal(rng: Generator, count: int, preset: DatasetPreset = WIDE) -> FloatArray:
    """(count,) focal lengths in crop widths, from 0.9 (a close webcam) to the preset's longest.

    `WIDE` has mostly 1.2–3 and at most 8; 55 is a 400 mm lens on a sensor 36 mm wide, cropped to a fifth.
    """
    median, spread, longest = preset.lenses
    return np.clip(np.exp(rng.normal(np.log(median), spread, count)), 0.9, longest).astype(np.float32)


def sample_tilt(rng: Generator, count: int) -> FloatArray:
    """(count, 3, 3) rotations of the scene for the camera's pitch (σ 11°, at most ±35°) and roll (σ 4°, ±15°)."""
    pitch, roll = np.clip(rng.normal(4, 11, count), -35, 35), np.clip(rng.normal(0, 4, count), -15, 15)
    turns = Rotation.from_euler("xz", np.stack([pitch, roll], axis=1), degrees=True)
    return np.asarray(turns.as_matrix(), np.float32)


def frame_people(rng: Generator, vertices: FloatArray, region: IntArray, preset: DatasetPreset = WIDE) -> Framing:
    """Samples a crop for each person: the box of its regions, enlarged by 1.1–1.5, off centre by up to 12 %.

    Args:
        vertices: (B, N, 3) a subset of the body's vertices, relative to the root joint, in the camera's orientation.
        region: (N,) regions of the vertices.
        preset: shares of whole persons and close-ups, and the focal lengths; the other kinds of crops share the rest
            in fixed proportions.
    """
    count = len(vertices)
    cuts = np.array([share for share, _ in _CROP_KINDS[1:]])
    cuts *= (1 - preset.closeups) / cuts.sum()
    cuts[CLOSEUP - 1] = preset.closeups
    kind = rng.choice(len(_CROP_KINDS), count, p=[preset.whole, *(cuts * (1 - preset.whole))])
    inside = np.stack([np.isin(region, [REGION_INDEX[name] for name in names]) for _, names in _CROP_KINDS])[kind]
    focal = sample_focal(rng, count, preset)
    size = (1 / rng.uniform(1.1, 1.5, count)).astype(np.float32)
    jitter = (rng.uniform(-0.12, 0.12, (count, 2)) * np.where(kind == WHOLE, 0.6, 1.0)[:, None]).astype(np.float32)
    for _ in range(6):
        translation, box = _fit(vertices, inside, focal, size, jitter)
        near = (vertices[..., 2] + translation[:, None, 2]).min(1) < _MIN_DISTANCE_M
        if not near.any():
            break
        focal = np.where(near, focal * 1.6, focal).astype(np.float32)
    return Framing(focal, translation, kind, box)


def _fit(
    vertices: FloatArray, inside: BoolArray, focal: FloatArray, size: FloatArray, jitter: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Moves each body iteratively until the box of its `inside` vertices has `size` and the centre 0.5 + `jitter`."""
    low, high = _bounds(vertices, inside)
    translation = -(low + high) / 2
    translation[:, 2] = focal * (high - low)[:, :2].max(1) / size
    for _ in range(6):
        depth = np.maximum(vertices[..., 2] + translation[:, None, 2], 0.05)
        image = (vertices[..., :2] + translation[:, None, :2]) * (focal[:, None] / depth)[..., None].astype(np.float32)
        low, high = _bounds(image, inside)
        centre_error = (low + high) / 2 - jitter
        scale = np.clip((high - low).max(1) / size, 0.5, 2.0)
        translation[:, :2] -= centre_error * (translation[:, 2] / focal)[:, None]
        translation[:, 2] *= scale
    return translation.astype(np.float32), np.hstack([low, high]).astype(np.float32) + 0.5


def _bounds(points: npt.NDArray[np.floating], inside: BoolArray) -> tuple[FloatArray, FloatArray]:
    """(B, N, D) → minimum and maximum (B, D) of the points inside."""
    far = np.float32(1e6)
    low = np.where(inside[..., None], points, far).min(1)
    high = np.where(inside[..., None], points, -far).max(1)
    return low.astype(np.float32), high.astype(np.float32)


_MIN_VISIBLE_SHARE = 0.35
"""An occluder that would leave less than this share of the person visible is omitted."""


@dataclass(frozen=True)
class Layer:
    """An image with premultiplied alpha.

    Args:
        colour: (S, S, 3) float32 RGB 0…255, premultiplied.
        alpha: (S, S, 1) float32 coverage 0…1.
    """

    colour: FloatArray
    alpha: FloatArray

    @classmethod
    def from_rendering(cls, rendering: Rendering) -> Self:
        """The rendering at half its resolution, which smooths the outline."""
        height, width = rendering.part.shape
        small = cv2.resize(rendering.colour.astype(np.float32), (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        return cls(np.asarray(small[..., :3], np.float32), np.asarray(small[..., 3:] / 255, np.float32))

    def over(self, background: FloatArray) -> FloatArray:
        """This layer composited over a background (S, S, 3)."""
        return self.colour + (1 - self.alpha) * background


def compose(
    rng: Generator,
    person: Layer,
    backgrounds: BackgroundBank,
    others: list[Layer],
    box: FloatArray,
    crop_kind: int,
    preset: DatasetPreset = WIDE,
) -> tuple[FloatArray, ByteArray]:
    """Composites a crop (S, S, 3) of a person, RGB 0…255, and its mask (S, S), 255 where the person is visible, else 0.

    Args:
        person: the person of the ground truth.
        others: people of the same size to draw bystanders and occluders from.
        box: (4,) left, top, right, bottom of the regions that the crop is fitted to, crop units.
        crop_kind: `Framing.kind`; a truncated person is often at the border of the camera's image.
        preset: probabilities of bystanders and occluders.
    """
    size = len(person.colour)
    image = backgrounds.draw(rng, size, size)
    if others and rng.random() < preset.bystanders:
        for _ in range(rng.integers(1, 4)):
            image = _bystander(rng, others, rng.uniform(0.3, 1.0)).over(image)
    if rng.random() < 0.3:
        image = _with_shadow(rng, image, box)
    image = person.over(image)
    alpha = person.alpha[..., 0]
    draw = rng.random()
    front: Layer | None = None
    person_probability = preset.occluders / 2
    if others and draw < person_probability:
        front = _bystander(rng, others, rng.uniform(0.8, 1.5))
    elif draw < person_probability + preset.occluders:
        front = occluder(rng, size, backgrounds)
    if front is not None:
        visible = alpha * (1 - front.alpha[..., 0])
        if visible.sum() > _MIN_VISIBLE_SHARE * alpha.sum():
            image, alpha = front.over(image), visible
    mask = (alpha >= 0.5).astype(np.uint8) * 255
    if rng.random() < (0.12 if crop_kind == WHOLE else 0.4):
        _pad_border(rng, image, mask, box, crop_kind)
    return image, mask


def _bystander(rng: Generator, others: list[Layer], scale: float) -> Layer:
    """Another person, scaled, shifted to one side and perhaps mirrored."""
    layer = others[rng.integers(len(others))]
    size = len(layer.colour)
    side = 1 if rng.random() < 0.5 else -1
    x = size * (0.5 + side * rng.uniform(0.28, 0.6) * max(scale, 0.8))
    y = size * rng.uniform(0.35, 0.65)
    flip = -1 if rng.random() < 0.5 else 1
    matrix = np.array([[flip * scale, 0, x - flip * scale * size / 2], [0, scale, y - scale * size / 2]], np.float32)
    moved = cv2.warpAffine(np.dstack([layer.colour, layer.alpha]), matrix, (size, size), flags=cv2.INTER_LINEAR)
    gain = np.float32(rng.uniform(0.6, 1.2))
    return Layer(np.asarray(moved[..., :3] * gain, np.float32), np.asarray(moved[..., 3:], np.float32))


def occluder(rng: Generator, size: int, backgrounds: BackgroundBank) -> Layer:
    """A simple shape in one colour or with the texture of a background."""
    canvas = np.zeros((2 * size, 2 * size), np.uint8)
    kind = rng.random()
    centre = rng.uniform(0.15, 0.85, 2) * 2 * size
    if kind < 0.25:  # a table or a window sill: everything below a line
        level, slope = rng.uniform(0.55, 0.95) * 2 * size, rng.normal(0, 0.1) * size
        corners = np.array([[0, level - slope], [2 * size, level + slope], [2 * size, 2 * size], [0, 2 * size]])
        cv2.fillConvexPoly(canvas, corners.astype(np.int32), 255)
    elif kind < 0.55:  # a box
        half = rng.uniform(0.05, 0.3, 2) * size
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half @ (np.eye(2) + rng.normal(0, 0.2, (2, 2)))
        cv2.fillConvexPoly(canvas, (corners + centre).astype(np.int32), 255)
    elif kind < 0.75:  # a round object
        axes = (int(rng.uniform(0.05, 0.3) * size), int(rng.uniform(0.05, 0.3) * size))
        cv2.ellipse(canvas, centre.astype(int).tolist(), axes, float(rng.uniform(0, 180)), 0, 360, 255.0, -1)
    else:  # a bar or a limb
        angle, width = rng.uniform(0, np.pi), int(rng.uniform(0.03, 0.14) * size)
        end = centre + np.array([np.cos(angle), np.sin(angle)], np.float32) * size * rng.uniform(0.4, 3)
        cv2.line(canvas, centre.astype(int).tolist(), end.astype(int).tolist(), 255.0, max(width, 2))
    alpha = np.asarray(cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)[..., None] / 255, np.float32)
    plain = rng.random() < 0.5
    surface = np.broadcast_to(colour(rng), (size, size, 3)) if plain else backgrounds.draw(rng, size, size)
    return Layer(np.asarray(surface * alpha, np.float32), alpha)


def _with_shadow(rng: Generator, image: FloatArray, box: FloatArray) -> FloatArray:
    """The image with a soft contact shadow at the lower edge of the box."""
    size = len(image)
    shadow = np.zeros((size, size), np.float32)
    centre = (int((box[0] + box[2]) / 2 * size), int(box[3] * size))
    axes = (int((box[2] - box[0]) * size * rng.uniform(0.3, 0.7)) + 1, int(size * rng.uniform(0.01, 0.06)) + 1)
    cv2.ellipse(shadow, centre, axes, 0, 0, 360, 1.0, -1)
    soft = cv2.GaussianBlur(shadow, (0, 0), size * 0.02)[..., None]
    return np.asarray(image * (1 - rng.uniform(0.2, 0.7) * soft), np.float32)


def _pad_border(rng: Generator, image: FloatArray, mask: ByteArray, box: FloatArray, crop_kind: int) -> None:
    """Simulates a camera image that ends inside the crop: pads one side with black, grey, or its border pixels."""
    size = len(image)
    if crop_kind == WHOLE:
        side = int(rng.integers(4))
        inside = rng.uniform(0, 0.15)
    else:
        side, inside = 3, rng.uniform(-0.04, 0.03)
    edge = float(box[side]) + (inside if side < 2 else -inside)
    line = int(np.clip(edge, 0, 1) * size)
    if not 2 < line < size - 2:
        return
    pixels, visible = _side_to_left(image, side), _side_to_left(mask, side)
    line = line if side < 2 else size - line
    fill = rng.random()
    if np.count_nonzero(visible[:, :line]) > 0.35 * np.count_nonzero(visible):
        return
    pixels[:, :line] = 0 if fill < 0.5 else (114 if fill < 0.6 else pixels[:, line : line + 1])
    visible[:, :line] = 0


def _side_to_left(array: npt.NDArray[Any], side: int) -> npt.NDArray[Any]:
    """A view of the array in which the left, top, right or bottom (0…3) border is on the left."""
    if side % 2:
        array = array.swapaxes(0, 1)
    return array[:, ::-1] if side >= 2 else array


_WORD = (1 << 64) - 1

State = npt.NDArray[np.uint64]
"""(6,) state of a generator, from which an outfit is drawn again."""


class Dresser:
    """Draws outfits and lights.

    Args:
        dressed: outfits of known kinds; else painted clothes.
    """

    def __init__(self, canvas: Canvas, dressed: bool) -> None:
        self._kinds = KindSampler(Wardrobe.load(canvas)) if dressed else None

    def draw(self, rng: Generator) -> tuple[Outfit, Light]:
        """An outfit, and a light to see it in."""
        painted, light = sample_appearance(rng), sample_light(rng)
        return self._kinds.sample(rng, painted) if self._kinds else Outfit(painted, ()), light


def state_of(rng: Generator) -> State:
    """The state of a generator of `numpy.random.default_rng`."""
    state = rng.bit_generator.state
    numbers = [state["state"]["state"], state["state"]["inc"]]
    words = [word for number in numbers for word in (number & _WORD, number >> 64)]
    return np.array([*words, state["has_uint32"], state["uinteger"]], np.uint64)


def worn_figure(outfit: Outfit, vertices: FloatArray, skeleton: PosedSkeleton) -> Figure:
    """A posed person in an outfit (`vertices`: (V, 3) of the body, camera space, metres)."""
    worn = tuple(WornGarment(garment, garment.posed_vertices(skeleton), paint) for garment, paint in outfit.garments)
    return Figure(vertices, outfit.body, worn)


Crops = dict[str, npt.NDArray[np.generic]]
"""Field → (N, …), as documented in `CROP_FIELDS`."""

CROP_FIELDS: dict[str, str] = {
    "image": "uint8 (S, S, 3) RGB, after degradations",
    "mask": "uint8 (S, S) 0 or 255: the visible part of the person",
    "depth": "float16 (S/2, S/2) camera z of the visible surface minus that of the root joint, metres; 0 off the mask",
    "part": "uint8 (S/2, S/2) 0 off the mask, 1 + region index",
    "keypoints_2d": "float32 (17, 2) in crop units, 0…1 inside the crop",
    "visible": "uint8 (17,) 1 inside the crop and not occluded",
    "joints_3d": "float32 (17, 3) the same keypoints in the crop's camera, metres",
    "translation": "float32 (3,) root joint in the crop's camera, metres",
    "rotation_vectors": "float32 (22, 3) local rotations; the root's is the orientation in the crop's camera",
    "curl": "float32 (4,) fingers and thumbs",
    "shape": "float32 (10,)",
    "focal": "float32 focal length in crop widths; the principal point is the crop's centre",
    "extent": "float32 width of the crop at the root's distance, metres: translation z / focal",
    "outfit": "uint64 (6,) state from which the outfit is drawn again (`common.synthetic.scene.scene.Dresser`)",
    "kinds": "uint8 (10,) for each attribute of `common.wear_kinds.VALUES` the values that are possible, as bits",
}
OPTIONAL_FIELDS: frozenset[str] = frozenset({"outfit", "kinds"})
"""Fields that data sets of earlier versions or of some presets lack."""

# A keypoint is visible if its pixel shows one of these regions, at most this far (m) from the joint in depth.
_VISIBLE_ON: dict[str, tuple[tuple[str, ...], float]] = {
    "nose": (("face", "scalp"), 0.06),
    "eye": (("face", "scalp"), 0.06),
    "ear": (("face", "scalp"), 0.07),
    "shoulder": (("chest", "upper_arm"), 0.16),
    "elbow": (("upper_arm", "forearm"), 0.11),
    "wrist": (("forearm", "hand"), 0.09),
    "hip": (("hips", "thigh", "chest"), 0.21),
    "knee": (("thigh", "shin"), 0.15),
    "ankle": (("shin", "foot"), 0.13),
}


@dataclass(frozen=True)
class PosedPeople:
    """A batch of posed people in camera space.

    Args:
        rotation_vectors: (B, 22, 3).
        curl: (B, 4).
        row: (B,) rows of the shape table.
        vertices: (B, V, 3) metres.
        keypoints: (B, 17, 3) metres.
        up: (B, 3) direction of the sky.
        skeletons: B posed skeletons, for the garments.
    """

    rotation_vectors: FloatArray
    curl: FloatArray
    row: IntArray
    vertices: FloatArray
    keypoints: FloatArray
    framing: Framing
    up: FloatArray
    skeletons: tuple[PosedSkeleton, ...]


class SceneMaker:
    """Renders batches of crops; the same seed, size and backgrounds give the same crops."""

    def __init__(
        self,
        model: BodyModel,
        backgrounds: BackgroundBank,
        split: Split,
        renderer: Renderer,
        preset: DatasetPreset = WIDE,
    ) -> None:
        self._preset = preset
        self.model, self._backgrounds, self._split = model, backgrounds, split
        self.renderer = renderer
        self._dresser = Dresser(renderer.canvas, preset.dressed)
        self._rows = identity_rows(split, len(model.shape_table))
        # A subset of the vertices suffices for bounding boxes.
        self._box_vertices = np.unique(renderer.canvas.faces)[::19]
        self._box_regions = renderer.canvas.region[self._box_vertices]
        self._visible_on = _visibility_table()

    def make(self, seed: int, count: int, size: int = 128) -> Crops:
        """`count` crops of `size` × `size` pixels: the fields of `CROP_FIELDS` with a leading axis.

        Raises:
            ValueError: the seed is outside the split's range.
        """
        rng = np.random.default_rng([check_seed(self._split, seed), 0])
        posed = self._pose(rng, PoseSampler(self._split, seed, self._preset).sample(count))
        layers: list[Layer] = []
        images = [self._crop(rng, posed, index, size, layers) for index in range(count)]
        crops = {name: np.stack([np.asarray(image[name]) for image in images]) for name in images[0]}
        framing = posed.framing
        return crops | {
            "keypoints_2d": project(posed.keypoints, framing.focal),
            "joints_3d": posed.keypoints,
            "translation": framing.translation,
            "rotation_vectors": posed.rotation_vectors,
            "curl": posed.curl,
            "shape": self.model.shape_table.numpy()[posed.row],
            "focal": framing.focal,
            "extent": framing.translation[:, 2] / framing.focal,
        }

    def _pose(self, rng: Generator, poses: PoseBatch) -> PosedPeople:
        """Samples identities and cameras for the poses and computes the bodies."""
        count = len(poses.curl)
        row = rng.choice(self._rows, count)
        tilt = torch.from_numpy(sample_tilt(rng, count))
        rotations = axis_angle_to_matrix(torch.from_numpy(poses.rotation_vectors))
        rotations[:, 0] = tilt @ rotations[:, 0]
        shape = self.model.shape_table[torch.from_numpy(row)]
        parameters = BodyParameters(rotations, torch.from_numpy(poses.curl), shape, torch.zeros(count, 3))
        with torch.no_grad():
            # Batches of 8 fit the processor's cache.
            parts = [self.model(parameters[slice(start, start + 8)]) for start in range(0, count, 8)]
            vertices_from_root = torch.cat([part.vertices for part in parts])
            rest = self.model.rest_joints_of(shape).numpy()
            keypoints = self.model.coco_keypoints(vertices_from_root).numpy()
        vertices = vertices_from_root.numpy()
        framing = frame_people(rng, vertices[:, self._box_vertices], self._box_regions, self._preset)
        root = framing.translation[:, None]
        positions = torch.cat([part.joint_positions for part in parts]).numpy() + root
        joint_rotations = torch.cat([part.joint_rotations for part in parts]).numpy()
        people = zip(shape.numpy(), rest, positions, joint_rotations, strict=True)
        return PosedPeople(
            rotation_vectors=matrix_to_axis_angle(rotations).numpy(),
            curl=poses.curl,
            row=row,
            vertices=vertices + root,
            keypoints=keypoints + root,
            framing=framing,
            up=-tilt[:, :, 1].numpy(),
            skeletons=tuple(PosedSkeleton(*person) for person in people),
        )

    def _crop(
        self, rng: Generator, posed: PosedPeople, index: int, size: int, layers: list[Layer]
    ) -> dict[str, npt.ArrayLike]:
        state = state_of(rng)
        outfit, light = self._dresser.draw(rng)
        figure = worn_figure(outfit, posed.vertices[index], posed.skeletons[index])
        view = View(2 * size, 2 * size, float(posed.framing.focal[index]) * 2 * size)
        rendering = self.renderer.render([figure], view, light, posed.up[index])
        layer = Layer.from_rendering(rendering)
        kind = int(posed.framing.kind[index])
        image, mask = compose(rng, layer, self._backgrounds, layers, posed.framing.box[index], kind, self._preset)
        if kind == WHOLE:
            layers.append(layer)
        truth = _half_resolution_truth(rendering, mask, float(posed.framing.translation[index, 2]))
        kinds = {"kinds": possible(outfit.kinds)} if outfit.kinds else {}
        return {
            "image": degrade(rng, image),
            "mask": mask,
            "visible": self._visible(posed, index, rendering, mask),
            **truth,
            "outfit": state,
            **kinds,
        }

    def _visible(self, posed: PosedPeople, index: int, rendering: Rendering, mask: ByteArray) -> ByteArray:
        """(17,): whether each keypoint's pixel shows its own limb, at a depth close to the joint."""
        keypoints = posed.keypoints[index]
        position = project(keypoints[None], posed.framing.focal[index : index + 1])[0]
        inside = ((position >= 0) & (position < 1)).all(1)
        clipped = np.clip(position, 0, 0.9999)
        x, y = (clipped * len(rendering.part)).astype(int).T
        mask_x, mask_y = (clipped * len(mask)).astype(int).T
        allowed, max_distance_m = self._visible_on
        on_limb = allowed[np.arange(len(keypoints)), rendering.part[y, x]]
        close = np.abs(rendering.depth[y, x] - keypoints[:, 2]) < max_distance_m
        return np.asarray(inside & on_limb & close & (mask[mask_y, mask_x] > 0), np.uint8)


def project(points: FloatArray, focal: FloatArray) -> FloatArray:
    """(B, N, 3) camera space and (B,) focal lengths in crop widths → (B, N, 2) crop units."""
    return (focal[:, None, None] * points[..., :2] / points[..., 2:] + 0.5).astype(np.float32)


def _half_resolution_truth(rendering: Rendering, mask: ByteArray, root_depth: float) -> dict[str, npt.ArrayLike]:
    """`depth` and `part`, zero where the person covers less than half of a cell."""
    cells = len(mask) // 2
    fine = len(rendering.part) // cells
    shape = (cells, fine, cells, fine)
    part_cells = rendering.part.reshape(shape).transpose(0, 2, 1, 3).reshape(cells, cells, -1)
    depth_cells = rendering.depth.reshape(shape).transpose(0, 2, 1, 3).reshape(cells, cells, -1)
    centre = (fine // 2) * fine + fine // 2
    part = part_cells[..., centre]
    part = np.where(part > 0, part, part_cells.max(2))
    covered = (depth_cells > 0).sum(2)
    depth = depth_cells.sum(2) / np.maximum(covered, 1) - root_depth
    on = (mask.reshape(cells, 2, cells, 2).astype(np.int32).sum((1, 3)) >= 2 * 255) & (covered > 0)
    return {
        "depth": np.where(on, depth, 0).astype(np.float16),
        "part": np.where(on, part, 0).astype(np.uint8),
    }


def _visibility_table() -> tuple[BoolArray, FloatArray]:
    """(17, 1 + R) part values on which a keypoint is visible, and (17,) the maximum distance in depth, metres."""
    allowed = np.zeros((len(COCO_KEYPOINTS), 1 + len(REGION_INDEX)), np.bool_)
    max_distance_m = np.zeros(len(COCO_KEYPOINTS), np.float32)
    for row, keypoint in enumerate(COCO_KEYPOINTS):
        side, _, joint = keypoint.rpartition("_")
        names, max_distance_m[row] = _VISIBLE_ON[joint]
        for name in names:
            region = name if name in REGION_INDEX else f"{name}.{side[0].upper()}"
            allowed[row, 1 + REGION_INDEX[region]] = True
    return allowed, max_distance_m


def scene_maker(split: Split, rng: Generator, backgrounds: int, preset: DatasetPreset = WIDE) -> SceneMaker:
    """A scene maker with its own renderer and `backgrounds` new backgrounds."""
    model = BodyModel.load()
    renderer = Renderer(Canvas.from_model(model))
    return SceneMaker(model, BackgroundBank(rng, backgrounds), split, renderer, preset)
