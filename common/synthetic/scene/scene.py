"""Renders crops of synthetic people with exact ground truth.

Domain randomisation covers identity, pose, camera, clothes, light, background, occluders and degradations.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from numpy.random import Generator

from common.arrays import BoolArray, ByteArray, FloatArray, IntArray
from common.body.anatomy import COCO_KEYPOINTS, REGION_INDEX
from common.body.model import BodyModel, BodyParameters
from common.body.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from common.synthetic.assets.body_canvas import Canvas
from common.synthetic.assets.garment import PosedSkeleton
from common.synthetic.dataset.presets import WIDE, DatasetPreset
from common.synthetic.dataset.split import Split, check_seed, identity_rows
from common.synthetic.motion.motion_table import MotionTable, load_table
from common.synthetic.motion.poses import PoseBatch, PoseSampler
from common.synthetic.renderer.renderer import Renderer, Rendering, View, cloth_of
from common.synthetic.scene.backgrounds import BackgroundBank
from common.synthetic.scene.compositing import Layer, compose
from common.synthetic.scene.degradations import degrade
from common.synthetic.scene.dressing import ClothingTruth, Dresser, state_of, worn_figure
from common.synthetic.scene.framing import WHOLE, Framing, frame_people, sample_tilt

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
    "surface": "float32 (24,) entries of the label group: what the person wears (`common.body.surface_space`)",
    "outfit": "uint64 (6,) state from which the outfit is drawn again (`common.synthetic.scene.dressing.Dresser`)",
    "normal": "int8 (S/2, S/2, 3) normal of the visible surface in the crop's camera, times 127; 0 off the mask",
    "material": "uint8 (S/2, S/2) 0 off the mask, 1 + index into `appearance.MATERIALS`",
    "kinds": "uint8 (10,) for each attribute of `common.wear_kinds.VALUES` the values that are possible, as bits",
}
OPTIONAL_FIELDS: frozenset[str] = frozenset({"surface", "outfit", "normal", "material", "kinds"})
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
        motions: MotionTable,
        backgrounds: BackgroundBank,
        split: Split,
        renderer: Renderer,
        preset: DatasetPreset = WIDE,
    ) -> None:
        self._preset = preset
        self.model, self._motions, self._backgrounds, self._split = model, motions, backgrounds, split
        self.renderer = renderer
        self._dresser, self._clothing = Dresser(renderer.canvas, preset.dressed), ClothingTruth(model, renderer)
        self._rows = identity_rows(split, len(model.shape_table))
        region = renderer.canvas.region
        # A subset of the vertices suffices for bounding boxes.
        self._box_vertices = np.unique(renderer.canvas.faces)[::19]
        self._box_regions = region[self._box_vertices]
        self._visible_on = _visibility_table()

    def make(self, seed: int, count: int, size: int = 128) -> Crops:
        """`count` crops of `size` × `size` pixels: the fields of `CROP_FIELDS` with a leading axis.

        Raises:
            ValueError: the seed is outside the split's range.
        """
        rng = np.random.default_rng([check_seed(self._split, seed), 0])
        posed = self._pose(rng, PoseSampler(self._split, seed, self._motions, self._preset).sample(count))
        images: list[dict[str, npt.ArrayLike]] = []
        layers: list[Layer] = []
        for index in range(count):
            images.append(self._crop(rng, posed, index, size, layers))
        crops = {name: np.stack([np.asarray(image[name]) for image in images]) for name in images[0]}
        return crops | self._truth(posed)

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
        return {
            "image": degrade(rng, image),
            "mask": mask,
            "visible": self._visible(posed, index, rendering, mask),
            **truth,
            "outfit": state,
            **self._clothing.fields(outfit, posed.skeletons[index].shape),
        }

    def _truth(self, posed: PosedPeople) -> Crops:
        framing = posed.framing
        return {
            "keypoints_2d": project(posed.keypoints, framing.focal),
            "joints_3d": posed.keypoints,
            "translation": framing.translation,
            "rotation_vectors": posed.rotation_vectors,
            "curl": posed.curl,
            "shape": self.model.shape_table.numpy()[posed.row],
            "focal": framing.focal,
            "extent": framing.translation[:, 2] / framing.focal,
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
    """`depth`, `part`, `normal` and `material`, zero where the person covers less than half of a cell."""
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
    # The same pixel of each cell as for the part, or beside an outline any pixel of the person.
    cloth_cells = rendering.cloth.reshape(shape).transpose(0, 2, 1, 3).reshape(cells, cells, -1)
    cloth = cloth_cells[..., centre]
    material, normal = cloth_of(np.where(cloth > 0, cloth, cloth_cells.max(2)))
    return {
        "depth": np.where(on, depth, 0).astype(np.float16),
        "part": np.where(on, part, 0).astype(np.uint8),
        "normal": np.where(on[..., None], np.round(127 * normal), 0).astype(np.int8),
        "material": np.where(on, material, 0).astype(np.uint8),
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


def scene_maker(
    split: Split, rng: Generator, backgrounds: int, preset: DatasetPreset = WIDE, motions: MotionTable | None = None
) -> SceneMaker:
    """A scene maker with its own renderer and `backgrounds` new backgrounds; by default, of the package's motions."""
    model = BodyModel.load()
    renderer = Renderer(Canvas.from_model(model))
    return SceneMaker(model, motions or load_table(), BackgroundBank(rng, backgrounds), split, renderer, preset)
