"""Renders people whose hands are near, with what is true of their fingers.

Bodies move as in Rocketbox's animations, fingers as in its animations or each on its own, as when somebody counts.
Without these animations, bodies have poses of the package's table, and all fingers count.

Shapes: F = 30 phalanges in the order of `FINGER_BONES`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch

from common.arrays import Float64Array, FloatArray, Image
from common.body.anatomy import FINGER_BONES, JOINT_INDEX, KEYPOINT_INDEX, MIRROR_SIGNS, SKELETON
from common.body.model import BodyModel, BodyParameters, axis_angle_to_matrix, skin
from common.frames import Camera
from common.synthetic.assets.appearance import sample_appearance, sample_light
from common.synthetic.assets.garments import Canvas
from common.synthetic.dataset import Split, check_seed, clip_split, identity_rows
from common.synthetic.motion.poses import PoseSampler
from common.synthetic.motion.retarget import Motion, twist
from common.synthetic.motion.windows import bvh_motion
from common.synthetic.renderer import Figure, Renderer, View
from common.synthetic.scene.backgrounds import add_sensor_noise, compress, expose, make_room
from sender.hands.fit import FINGERS, PHALANGES, HandSkeleton
from tests.bench.hands.fingers import drawn_fingers, recorded_fingers

FOCAL_PX: Final = 768.0
HAND_M: Final = 0.19
MIN_PX, MAX_PX = 40.0, 120.0
"""Lengths of the hands in the pictures."""
_COUNTING_SHARE = 0.5
_HAND: Final = FINGERS * PHALANGES
# Largest distance of a visible joint behind the surface.
_VISIBLE_M = 0.12
_MIN_VISIBLE = 0.8


@dataclass(frozen=True, slots=True)
class TrueHand:
    """One hand in a picture; a right hand is mirrored, with its picture, to a left one.

    Args:
        left: whether it is a left hand.
        hand_px: its length.
        wrist, elbow: (2,) pixels in the picture as it is.
        vectors: (15, 3) rotation vectors of the phalanges.
        palm: (3, 3) its rotation.
        is_counting: whether its fingers are curled each on its own.
    """

    left: bool
    hand_px: float
    wrist: Float64Array
    elbow: Float64Array
    vectors: Float64Array
    palm: Float64Array
    is_counting: bool


@dataclass(frozen=True, slots=True)
class HandPicture:
    """A picture with the hands that are visible in it."""

    image: Image
    camera: Camera
    hands: tuple[TrueHand, ...]


class HandPictures:
    """A seeded stream of pictures.

    Args:
        motions: folder of Rocketbox's animations, if there is one.
        size: width and height, pixels.

    Raises:
        RendererUnavailable: see `Renderer`.
    """

    def __init__(self, motions: Path | None, split: Split, seed: int, size: tuple[int, int]) -> None:
        self._rng, self._size = np.random.default_rng(check_seed(split, seed)), size
        self._body = BodyModel.load()
        self._skeleton = HandSkeleton.from_body(self._body)
        self._rows = identity_rows(split, len(self._body.shape_table))
        files = sorted(motions.glob("*.bvh")) if motions else []
        self._clips = [path for path in files if clip_split(f"rocketbox/{path.stem}") == split]
        self._fingers = recorded_fingers(motions, self._body, split) if motions else None
        self._poses = PoseSampler(split, seed)
        self._renderer = Renderer(Canvas.from_model(self._body))

    def __iter__(self) -> Iterator[HandPicture]:
        while True:
            yield self._picture()

    def _picture(self) -> HandPicture:
        rng, (width, height) = self._rng, self._size
        counting = self._fingers is None or bool(rng.random() < _COUNTING_SHARE)
        rotations, vectors = self._pose(), self._vectors(counting=counting)
        phalanges = axis_angle_to_matrix(torch.from_numpy(vectors.astype(np.float32)))
        local = torch.cat([rotations, phalanges])[None]
        shape = self._body.shape_table[rng.choice(self._rows)][None]
        heads, _ = self._body.chained(local, shape, torch.zeros(1, 3))
        hand = heads[0, JOINT_INDEX[f"wrist.{rng.choice(['L', 'R'])}"]].numpy()
        distance_m = FOCAL_PX * HAND_M / np.exp(rng.uniform(np.log(MIN_PX), np.log(MAX_PX)))
        across = rng.uniform(-0.25, 0.25, 2) * self._size * distance_m / FOCAL_PX
        at = np.array([*(across - hand[:2]), distance_m - hand[2]], np.float32)
        positions, turned = self._body.chained(local, shape, torch.from_numpy(at)[None])
        rest, rest_joints = self._body.rest(shape)
        vertices = skin(rest, rest_joints, positions, turned, self._body.weights)
        view = View(2 * width, 2 * height, 2 * FOCAL_PX)
        figure = Figure(vertices[0].numpy(), sample_appearance(rng))
        rendering = self._renderer.render([figure], view, sample_light(rng))
        depth = rendering.depth[::2, ::2]
        camera = Camera(width, height, FOCAL_PX)
        keypoints = self._body.coco_keypoints(vertices)[0].numpy()
        hands = tuple(
            self._truth(side, positions[0].numpy(), turned[0].numpy(), keypoints, vectors, counting, camera)
            for side in range(2)
            if _is_visible(positions[0, _bones(side)].numpy(), depth, camera)
        )
        return HandPicture(self._photographed(rendering.colour), camera, hands)

    def _pose(self) -> torch.Tensor:
        """(22, 3, 3) local rotations of somebody who turns little from the camera."""
        rng = self._rng
        if self._clips:
            motion = _motion(self._clips[rng.integers(len(self._clips))])
            rotations = torch.from_numpy(motion.local_rotations[rng.integers(len(motion.local_rotations))]).float()
        else:
            rotations = axis_angle_to_matrix(torch.from_numpy(self._poses.sample(1).rotation_vectors[0]))
        turn = 0.5 * rng.normal() - float(twist(rotations[:1].numpy(), np.eye(3)[1])[0])
        rotations[0] = axis_angle_to_matrix(torch.tensor([0.0, turn, 0.0])) @ rotations[0]
        for joint, spread in (("lowerarm01", 0.4), ("wrist", 0.35)):
            for side in "LR":
                noise = torch.from_numpy(rng.normal(0, spread, 3).astype(np.float32))
                index = JOINT_INDEX[f"{joint}.{side}"]
                rotations[index] = rotations[index] @ axis_angle_to_matrix(noise)
        body = BodyParameters(rotations[None], torch.zeros(1, 4), torch.zeros(1, 10), torch.zeros(1, 3))
        return body.mirrored().rotations[0] if rng.random() < 0.5 else rotations

    def _vectors(self, *, counting: bool) -> Float64Array:
        """(F, 3) of the left hand, then of the right one."""
        if counting or self._fingers is None:
            drawn = drawn_fingers(2, self._body, self._rng)
        else:
            drawn = self._fingers[self._rng.integers(len(self._fingers), size=2)]
        return np.concatenate([drawn[0], drawn[1] * [1, -1, -1]]).astype(np.float64)

    def _truth(
        self,
        side: int,
        positions: FloatArray,
        turned: FloatArray,
        keypoints: FloatArray,
        vectors: Float64Array,
        counting: bool,
        camera: Camera,
    ) -> TrueHand:
        wrist = JOINT_INDEX[f"wrist.{'LR'[side]}"]
        mirror = np.array(MIRROR_SIGNS) if side else np.ones(3)
        origin, palm = positions[wrist].astype(np.float64), mirror[:, None] * turned[wrist].astype(np.float64) * mirror
        knuckle = positions[_bones(side)[2 * PHALANGES]] - origin
        scale = float(np.linalg.norm(knuckle) / np.linalg.norm(self._skeleton.joints[2, 0]))
        names = [KEYPOINT_INDEX[f"{('left', 'right')[side]}_{name}"] for name in ("wrist", "elbow")]
        wrist_at, elbow_at = camera.project(keypoints[names]).astype(np.float64)
        hand_px = FOCAL_PX * HAND_M * scale / float(origin[2])
        own_vectors = vectors[side * _HAND : (side + 1) * _HAND] * (np.array([1, -1, -1]) if side else 1)
        return TrueHand(side == 0, hand_px, wrist_at, elbow_at, own_vectors, palm, counting)

    def _photographed(self, colour: Image) -> Image:
        rng, (width, height) = self._rng, self._size
        room = cv2.GaussianBlur(make_room(rng, max(self._size)), (0, 0), 1.2)[-height:, -width:]
        person = cv2.resize(colour, self._size, interpolation=cv2.INTER_AREA).astype(np.float32)
        picture = person[..., :3] + (1 - person[..., 3:] / 255) * room
        blurred = np.asarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 0.9)), np.float32)
        noisy = add_sensor_noise(rng, expose(rng, blurred))
        return compress(rng, np.asarray(np.clip(noisy, 0, 255), np.uint8))


@cache
def _motion(path: Path) -> Motion:
    return bvh_motion("rocketbox", path)


def _bones(side: int) -> list[int]:
    """Those of a hand's phalanges in the skeleton."""
    return [SKELETON.index(name) for name in FINGER_BONES[side * _HAND : (side + 1) * _HAND]]


def _is_visible(heads: FloatArray, depth: FloatArray, camera: Camera) -> bool:
    """Whether nothing is before most joints (15, 3) of a hand, and all are in the picture."""
    column, row = camera.project(heads).astype(int).T
    inside = (column >= 4) & (column < camera.width - 4) & (row >= 4) & (row < camera.height - 4)
    if not inside.all() or heads[:, 2].min() < _VISIBLE_M:
        return False
    return bool((np.abs(depth[row, column] - heads[:, 2]) < _VISIBLE_M).mean() > _MIN_VISIBLE)
