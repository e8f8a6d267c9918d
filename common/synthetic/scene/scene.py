"""Crops of synthetic people with exact truth: identity, pose, camera, clothes, light, surroundings, camera faults."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from common.arrays import BoolArray, ByteArray, FloatArray, IntArray
from common.body.anatomy import COCO_KEYPOINTS, REGION_INDEX
from common.body.model import BodyModel, BodyParameters
from common.body.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from common.synthetic.assets.appearance import Appearance, sample_appearance, sample_light
from common.synthetic.assets.body_canvas import Canvas
from common.synthetic.assets.outfit import choose_outfit
from common.synthetic.assets.wardrobe import Skeleton, Wardrobe
from common.synthetic.dataset.presets import WIDE, DatasetPreset
from common.synthetic.dataset.split import Split, check_seed
from common.synthetic.motion.motion_table import MotionTable, load_table
from common.synthetic.motion.poses import PoseBatch, PoseSampler
from common.synthetic.renderer.renderer import Figure, Renderer, Rendering, View, Worn
from common.synthetic.scene.backgrounds import BackgroundBank
from common.synthetic.scene.compositing import Layer, compose
from common.synthetic.scene.degradations import degrade
from common.synthetic.scene.framing import WHOLE, Framing, frame_people, sample_tilt

Generator = np.random.Generator

Crops = dict[str, npt.NDArray[np.generic]]
"""Field → (N, …), as documented in `CROP_FIELDS`."""

CROP_FIELDS: dict[str, str] = {
    "image": "uint8 (S, S, 3) RGB, after degradations",
    "mask": "uint8 (S, S) 0 or 255: what is seen of the person in the middle",
    "depth": "float16 (S/2, S/2) camera z of the seen surface minus that of the root joint, metres; 0 off the mask",
    "part": "uint8 (S/2, S/2) 0 off the mask, 1 + region index",
    "keypoints_2d": "float32 (17, 2) in crop units, 0…1 inside",
    "visible": "uint8 (17,) 1 inside the crop and not hidden",
    "joints_3d": "float32 (17, 3) the same keypoints in the crop's camera, metres",
    "translation": "float32 (3,) root joint in the crop's camera, metres",
    "rotation_vectors": "float32 (22, 3) local rotations; the root's is the orientation in the crop's camera",
    "curl": "float32 (4,) fingers and thumbs",
    "shape": "float32 (10,)",
    "phenotype": "float32 (6,)",
    "focal": "float32 focal length in crop widths; the camera looks through the crop's middle",
    "extent": "float32 what the crop spans at the root's distance, metres: translation z / focal",
    "colours": "float32 (R, 3) mean unlit colour of each body region, sRGB 0…1",
    "occluded": "uint8 1 if something stands before the person",
}

# Where a keypoint may show: on these regions, this far (m) before the joint.
_SHOWS: dict[str, tuple[tuple[str, ...], float]] = {
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


def identity_rows(split: Split, count: int) -> IntArray:
    """Rows of the identity table that belong to a split: of ten, eight train, one is held out, one tests."""
    digit = np.arange(count) % 10
    return np.flatnonzero({"train": digit < 8, "val": digit == 8, "test": digit == 9}[split])


@dataclass(frozen=True)
class Posed:
    """A batch of people before their cameras.

    Args:
        rotation_vectors: (B, 22, 3).
        curl: (B, 4).
        row: (B,) of the identity table.
        vertices: (B, V, 3) camera space.
        keypoints: (B, 17, 3) camera space.
        framing: cameras.
        up: (B, 3) the sky's direction in camera space.
        skeletons: B posed skeletons, which garments move with.
    """

    rotation_vectors: FloatArray
    curl: FloatArray
    row: IntArray
    vertices: FloatArray
    keypoints: FloatArray
    framing: Framing
    up: FloatArray
    skeletons: tuple[Skeleton, ...]


class SceneMaker:
    """Makes batches of crops; the same seed, size and backgrounds give the same crops.

    Args:
        model: the body.
        motions: captured poses.
        backgrounds: what is behind the people.
        split: whose identities and poses to draw.
        renderer: shared within a process.
        preset: what kinds of pictures.

    Only a preset with dressed people opens the wardrobe, which may bake the base mesh
    (`common.synthetic.assets.base_mesh`).
    """

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
        self._wardrobe = Wardrobe.load(renderer.canvas) if preset.dressed else None
        self._rows = identity_rows(split, len(model.shape_table))
        region = renderer.canvas.region
        # Some of the vertices are enough to find a box.
        self._outline = np.unique(renderer.canvas.faces)[::19]
        self._outline_region = region[self._outline]
        self._shows = _visibility_table()

    def make(self, seed: int, count: int, size: int = 128) -> Crops:
        """`count` crops of `size` pixels: each field of `CROP_FIELDS` with a leading axis.

        Raises:
            ValueError: the seed is not one of the split's.
        """
        rng = np.random.default_rng([check_seed(self._split, seed), 0])
        posed = self._pose(rng, PoseSampler(self._split, seed, self._motions, self._preset).sample(count))
        images: list[dict[str, npt.ArrayLike]] = []
        layers: list[Layer] = []
        for index in range(count):
            images.append(self._crop(rng, posed, index, size, layers))
        crops = {name: np.stack([np.asarray(image[name]) for image in images]) for name in images[0]}
        return crops | self._truth(posed)

    def _pose(self, rng: Generator, poses: PoseBatch) -> Posed:
        """Draw people, pose them and put cameras before them."""
        count = len(poses.curl)
        row = rng.choice(self._rows, count)
        tilt = torch.from_numpy(sample_tilt(rng, count))
        rotations = axis_angle_to_matrix(torch.from_numpy(poses.rotation_vectors))
        rotations[:, 0] = tilt @ rotations[:, 0]
        shape = self.model.shape_table[torch.from_numpy(row)]
        parameters = BodyParameters(rotations, torch.from_numpy(poses.curl), shape, torch.zeros(count, 3))
        with torch.no_grad():
            # A few at a time stay in the processor's cache.
            parts = [self.model(parameters[slice(start, start + 8)]) for start in range(0, count, 8)]
            vertices_from_root = torch.cat([part.vertices for part in parts])
            rest = self.model.rest_joints_of(shape).numpy()
            keypoints = self.model.coco_keypoints(vertices_from_root).numpy()
        vertices = vertices_from_root.numpy()
        framing = frame_people(rng, vertices[:, self._outline], self._outline_region, self._preset)
        placed = framing.translation[:, None]
        positions = torch.cat([part.joint_positions for part in parts]).numpy() + placed
        turned = torch.cat([part.joint_rotations for part in parts]).numpy()
        people = zip(shape.numpy(), rest, positions, turned, strict=True)
        return Posed(
            rotation_vectors=matrix_to_axis_angle(rotations).numpy(),
            curl=poses.curl,
            row=row,
            vertices=vertices + placed,
            keypoints=keypoints + placed,
            framing=framing,
            up=-tilt[:, :, 1].numpy(),
            skeletons=tuple(Skeleton(*person) for person in people),
        )

    def _crop(
        self, rng: Generator, posed: Posed, index: int, size: int, layers: list[Layer]
    ) -> dict[str, npt.ArrayLike]:
        appearance, light = sample_appearance(rng), sample_light(rng)
        figure = self._dress(rng, posed, index, appearance)
        view = View(2 * size, 2 * size, float(posed.framing.focal[index]) * 2 * size)
        rendering = self.renderer.render([figure], view, light, posed.up[index])
        layer = Layer.from_rendering(rendering)
        cut = int(posed.framing.kind[index])
        picture = compose(rng, layer, self._backgrounds, layers, posed.framing.box[index], cut, self._preset)
        if cut == WHOLE:
            layers.append(layer)
        depth, part = _coarse_truth(rendering, picture.mask, float(posed.framing.translation[index, 2]))
        return {
            "image": degrade(rng, picture.image) if self._preset.degradations else _as_pixels(picture.image),
            "mask": picture.mask,
            "depth": depth,
            "part": part,
            "visible": self._visible(posed, index, rendering, picture.mask),
            "colours": self.renderer.region_colours(figure),
            "occluded": np.uint8(picture.occluded),
        }

    def _dress(self, rng: Generator, posed: Posed, index: int, painted: Appearance) -> Figure:
        """One of the people, in garments or in paint."""
        if self._wardrobe is None or rng.random() >= self._preset.dressed:
            return Figure(posed.vertices[index], painted)
        outfit = choose_outfit(rng, self._wardrobe, painted)
        worn = [Worn(garment, garment.drape(posed.skeletons[index]), paint) for garment, paint in outfit.pieces]
        return Figure(posed.vertices[index], outfit.beneath, tuple(worn))

    def _truth(self, posed: Posed) -> Crops:
        framing = posed.framing
        return {
            "keypoints_2d": project(posed.keypoints, framing.focal),
            "joints_3d": posed.keypoints,
            "translation": framing.translation,
            "rotation_vectors": posed.rotation_vectors,
            "curl": posed.curl,
            "shape": self.model.shape_table.numpy()[posed.row],
            "phenotype": self.model.phenotype_table.numpy()[posed.row].astype(np.float32),
            "focal": framing.focal,
            "extent": framing.translation[:, 2] / framing.focal,
        }

    def _visible(self, posed: Posed, index: int, rendering: Rendering, mask: ByteArray) -> ByteArray:
        """(17,): the keypoint's own limb is what its pixel shows, close enough before the joint."""
        keypoints = posed.keypoints[index]
        where = project(keypoints[None], posed.framing.focal[index : index + 1])[0]
        inside = ((where >= 0) & (where < 1)).all(1)
        pixel = np.clip(where, 0, 0.9999)
        x, y = (pixel * len(rendering.part)).astype(int).T
        mask_x, mask_y = (pixel * len(mask)).astype(int).T
        allowed, reach = self._shows
        on_limb = allowed[np.arange(len(keypoints)), rendering.part[y, x]]
        close = np.abs(rendering.depth[y, x] - keypoints[:, 2]) < reach
        return np.asarray(inside & on_limb & close & (mask[mask_y, mask_x] > 0), np.uint8)


def project(points: FloatArray, focal: FloatArray) -> FloatArray:
    """(B, N, 3) camera space and (B,) focal lengths in crop widths → (B, N, 2) crop units."""
    return (focal[:, None, None] * points[..., :2] / points[..., 2:] + 0.5).astype(np.float32)


def _coarse_truth(
    rendering: Rendering, mask: ByteArray, root_depth: float
) -> tuple[npt.NDArray[np.float16], ByteArray]:
    """Depth and part at half the crop's resolution, zero where less than half a cell is the person."""
    cells = len(mask) // 2
    fine = len(rendering.part) // cells
    shape = (cells, fine, cells, fine)
    part_cells = rendering.part.reshape(shape).transpose(0, 2, 1, 3).reshape(cells, cells, -1)
    depth_cells = rendering.depth.reshape(shape).transpose(0, 2, 1, 3).reshape(cells, cells, -1)
    middle = (fine // 2) * fine + fine // 2
    part = part_cells[..., middle]
    part = np.where(part > 0, part, part_cells.max(2))
    covered = (depth_cells > 0).sum(2)
    depth = depth_cells.sum(2) / np.maximum(covered, 1) - root_depth
    on = (mask.reshape(cells, 2, cells, 2).astype(np.int32).sum((1, 3)) >= 2 * 255) & (covered > 0)
    return np.where(on, depth, 0).astype(np.float16), np.where(on, part, 0).astype(np.uint8)


def _as_pixels(image: FloatArray) -> ByteArray:
    return np.asarray(np.clip(image, 0, 255), np.uint8)


def _visibility_table() -> tuple[BoolArray, FloatArray]:
    """(17, 1 + R) on which part values a keypoint may show, and (17,) how far before the joint."""
    allowed = np.zeros((len(COCO_KEYPOINTS), 1 + len(REGION_INDEX)), np.bool_)
    reach = np.zeros(len(COCO_KEYPOINTS), np.float32)
    for row, keypoint in enumerate(COCO_KEYPOINTS):
        side, _, joint = keypoint.rpartition("_")
        names, reach[row] = _SHOWS[joint]
        for name in names:
            region = name if name in REGION_INDEX else f"{name}.{side[0].upper()}"
            allowed[row, 1 + REGION_INDEX[region]] = True
    return allowed, reach


def scene_maker(split: Split, rng: Generator, backgrounds: int, preset: DatasetPreset = WIDE) -> SceneMaker:
    """With a renderer and so many backgrounds of its own."""
    model = BodyModel.load()
    renderer = Renderer(Canvas.from_model(model))
    return SceneMaker(model, load_table(), BackgroundBank(rng, backgrounds), split, renderer, preset)
