"""Coordinates for painting the bare body: along arms and legs, up the torso, around the head."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from common.arrays import FloatArray, IntArray
from common.body.anatomy import COCO_KEYPOINTS, JOINT_INDEX, REGION_INDEX, SHAPE_SIZE
from common.body.model import BodyModel

OUTSIDE = np.float32(-0.05)
"""The limb coordinate of a vertex that is not on the limb."""


@dataclass(frozen=True)
class Canvas:
    """Paint coordinates and topology of the body, independent of pose and shape.

    Args:
        rest: (V, 3) vertices of the mean body in the rest pose, metres.
        limb: (V, 4) along the arm (0 shoulder, 1 elbow, 2 wrist), along the leg (0 hip, 1 knee, 2 ankle), up the
            torso (0 hips, 1 neck), 1 on the head.
        region: (V,) index into `common.body.anatomy.REGIONS`.
        faces: (F, 3) triangles.
        face: (4, 3) left eye, right eye, mouth, centre of the head, in rest space.
        head_radius: (3,) half extents of the head.
    """

    rest: FloatArray
    limb: FloatArray
    region: IntArray
    faces: IntArray
    face: FloatArray
    head_radius: FloatArray

    @classmethod
    def from_model(cls, model: BodyModel) -> Self:
        """Computes the coordinates on the body of mean shape."""
        with torch.no_grad():
            vertices, joints = model.rest(torch.zeros(1, SHAPE_SIZE))
            keypoints = model.coco_keypoints(vertices)[0].numpy()
        rest, joint = vertices[0].numpy(), joints[0].numpy()
        region = model.vertex_region.numpy()
        on_head = (region == REGION_INDEX["face"]) | (region == REGION_INDEX["scalp"])
        above_chin = on_head & (rest[:, 1] < keypoints[COCO_KEYPOINTS.index("nose"), 1] + 0.08)
        low, high = rest[above_chin].min(0), rest[above_chin].max(0)
        # Shrink width and depth to the skull, without ears and nose.
        radius, centre = (high - low) / 2 * np.array([0.93, 1.0, 0.95], np.float32), (high + low) / 2
        limb = np.stack(
            [_along(rest, joint, region, _ARM), _along(rest, joint, region, _LEG), _torso(rest, joint), on_head], 1
        )
        return cls(
            rest=rest.astype(np.float32),
            limb=limb.astype(np.float32),
            region=region,
            faces=model.skin_faces.numpy(),
            face=_face(keypoints, centre),
            head_radius=radius.astype(np.float32),
        )


_ARM = (("upperarm01", "lowerarm01", "wrist"), ("upper_arm", "forearm", "hand"))
_LEG = (("upperleg01", "lowerleg01", "foot"), ("thigh", "shin", "foot"))


def _along(
    rest: FloatArray, joint: FloatArray, region: IntArray, chain: tuple[tuple[str, ...], tuple[str, ...]]
) -> FloatArray:
    """(V,) position along a limb of two bones, in bone lengths; `OUTSIDE` elsewhere."""
    along = np.full(len(rest), OUTSIDE, np.float32)
    for side in (".L", ".R"):
        first, middle, last = (joint[JOINT_INDEX[name + side]] for name in chain[0])
        upper, lower = _project(rest, first, middle), _project(rest, middle, last)
        on_limb = np.isin(region, [REGION_INDEX[name + side] for name in chain[1]])
        on_extremity = region == REGION_INDEX[chain[1][2] + side]
        position = np.where(upper < 1, np.maximum(upper, 0.0), 1 + np.clip(lower, 0.0, 1.5))
        along[on_limb] = np.where(on_extremity, np.maximum(position, 1.9), position)[on_limb]
    return along


def _project(points: FloatArray, start: FloatArray, end: FloatArray) -> FloatArray:
    axis = end - start
    return np.asarray((points - start) @ axis / (axis @ axis), np.float32)


def _torso(rest: FloatArray, joint: FloatArray) -> FloatArray:
    hips, neck = joint[JOINT_INDEX["upperleg01.L"], 1], joint[JOINT_INDEX["neck01"], 1]
    return np.asarray((hips - rest[:, 1]) / (hips - neck), np.float32)


def _face(keypoints: FloatArray, centre: FloatArray) -> FloatArray:
    nose, left, right = keypoints[0], keypoints[1], keypoints[2]
    mouth = nose + np.array([0, 0.62, 0], np.float32) * (nose[1] - (left[1] + right[1]) / 2)
    return np.stack([left, right, mouth, centre]).astype(np.float32)
