"""People who move before cameras: motions, bodies and cameras at random, without any picture.

A window of a motion is played at another speed, mirrored, by a body of another shape, or with the legs of another
motion, before a camera of any direction and focal length.

Shapes: B windows, T frames, K = 17 keypoints, E = 80 entries, P = 61 of them of the pose.
"""

from dataclasses import dataclass, fields, replace
from typing import Final, Self

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from common.arrays import BoolArray, Float64Array, FloatArray, IntArray
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, KeypointKinematics
from common.labels import ROTATION_SCALE, group_slices
from common.synthetic.dataset import Split, identity_rows
from common.synthetic.motion.windows import MotionWindows
from sender.semantics.bodies import CROSS, ENTRIES, KeypointJacobian, orientation

FPS: Final = 30
MIRRORED_CONTACTS = [2, 3, 0, 1]
_GROUPS = group_slices()
_POSE = _GROUPS["torso"].start
# Of the pose: the legs, and what the curls of fingers are in.
_LEGS = slice(_GROUPS["left_leg"].start - _POSE, _GROUPS["right_leg"].stop - _POSE)
_HANDS = slice(_GROUPS["hands"].start - _POSE, _GROUPS["hands"].stop - _POSE)
_CURL = (0.35, 0.2, 0.35, 0.2)
# A kind of motion is drawn in proportion to this power of its frames.
_BALANCE = 0.4
_OTHER_LEGS = 0.2
# Standard deviations of what `nearby` changes at most: entries, and radians about the upward axis and any.
_OTHER_BUILD, _OTHER_POSE, _OTHER_TURN, _TILT = 0.5, 0.35, 0.4, 0.08
_BATCH = 4096


@dataclass(frozen=True, slots=True)
class Moving:
    """The truth of B windows of T frames; float32, metres, in the axes of each frame's camera.

    Args:
        time_s: (B, T) of each frame.
        turn, pelvis: (B, T, 3, 3) orientations and (B, T, 3) positions of the roots.
        keypoints: (B, T, K, 3) from the pelvis.
        body: (B, T, E − 9) entries of shape and pose.
        contacts: (B, T, 4) whether left heel, left toe, right heel, right toe stand on the floor.
        up: (B, T, 3) away from the ground.
        size: (B, 2) width and height of the picture, in widths.
        focal: (B,) focal length of the camera, in widths of the picture.
        still: (B,) whether the camera stands still.
    """

    time_s: Float64Array
    turn: FloatArray
    pelvis: FloatArray
    keypoints: FloatArray
    body: FloatArray
    contacts: BoolArray
    up: FloatArray
    size: FloatArray
    focal: FloatArray
    still: BoolArray

    def at(self, *rows: IntArray) -> Self:
        """Windows (B,); or of windows (B, 1) some frames (B, T)."""
        of_frames = {item.name: getattr(self, item.name) for item in fields(self)}
        of_windows = {name: of_frames.pop(name)[rows[0].ravel()] for name in ("size", "focal", "still")}
        return type(self)(**of_windows, **{name: each[rows] for name, each in of_frames.items()})

    @property
    def places(self) -> FloatArray:
        """(B, T, K, 2) of the keypoints in the picture, widths from the principal point."""
        points = self.keypoints + self.pelvis[:, :, None]
        places = self.focal[:, None, None, None] * points[..., :2] / np.maximum(points[..., 2:], 0.05)
        return np.asarray(places, np.float32)

    @property
    def inside(self) -> BoolArray:
        """(B, T, K) whether keypoints are in the picture."""
        within = np.abs(self.places) < 0.5 * self.size[:, None, None]
        return np.asarray(within.all(-1) & (self.keypoints[..., 2] + self.pelvis[..., None, 2] > 0.05))


class Motions:
    """Draws windows of the motions of a split.

    Args:
        windows: of motion.
        split: of motions and of people.
    """

    def __init__(self, windows: MotionWindows, split: Split) -> None:
        model, space = BodyModel.load(), LabelSpace.load()
        self.kinematics = KeypointJacobian.of_body(space, KeypointKinematics(model))
        self._shapes = model.shape_table[identity_rows(split, len(model.shape_table))].numpy()
        self._legs_m = _leg_lengths(model)
        self._by_curl = space.encode_pose(torch.eye(3).expand(5, 22, 3, 3), torch.eye(5)[:, 1:]).numpy()
        self._by_curl = (self._by_curl[1:] - self._by_curl[:1])[:, _HANDS]
        rows, clips = windows.starts(split, 1)
        _, first, lengths = np.unique(clips, return_index=True, return_counts=True)
        kinds = np.array(windows.kinds)[clips[first]]
        frames = {kind: lengths[kinds == kind].sum() for kind in np.unique(kinds)}
        share = np.array([length * frames[kind] ** (_BALANCE - 1) for kind, length in zip(kinds, lengths, strict=True)])
        # The clips, and their mirror images.
        self._share, self._last = np.tile(share / share.sum() / 2, 2), np.tile(lengths - 1, 2)
        self._first = np.concatenate([first, first + len(rows)])
        self._no_fingers = np.tile(np.isnan(windows.curl[rows[first], 0]), 2)
        parts = [_encoded(space, windows, rows[row : row + _BATCH]) for row in range(0, len(rows), _BATCH)]
        self._pose, self._root, self._place = (
            np.concatenate([part[side][index] for side in range(2) for part in parts]) for index in range(3)
        )
        contacts = np.asarray(windows.contacts)[rows]
        self._contacts = np.concatenate([contacts, contacts[:, MIRRORED_CONTACTS]])

    def draw(self, count: int, frames: int, rng: np.random.Generator) -> Moving:
        """`count` windows of as many frames, each before a camera."""
        time_s = np.tile(np.arange(frames) / FPS, (count, 1))
        pose, root, place, contacts = self._motion(time_s, rng)
        shape = self._shapes[rng.integers(len(self._shapes), size=count)]
        shape = (shape + rng.normal(0, 0.2, shape.shape)).astype(np.float32)
        place = place * (1 + shape @ self._legs_m[1:] / self._legs_m[0])[:, None, None]
        body = np.concatenate([np.broadcast_to(shape[:, None], (count, frames, shape.shape[1])), pose], -1)
        turned, size, focal = _cameras(count, rng)
        turn = turned[:, None] @ root
        keypoints = self._keypoints(turn, body)
        path = (turned[:, None] @ (place - place.mean(1, keepdims=True))[..., None])[..., 0]
        pelvis = path + _before_camera(path, keypoints, size, focal, rng)[:, None]
        up = np.broadcast_to(-turned[:, None, :, 1], (count, frames, 3))
        still = np.ones(count, bool)
        return Moving(time_s, turn, pelvis, keypoints, body, contacts, up, size, focal, still)

    def nearby(self, moving: Moving, rng: np.random.Generator) -> Moving:
        """The same people, built, turned and posed a little otherwise, each window by as much for all of its frames.

        What was seen of a clip is off in nearly the same way there, and no clip is known by its pose.
        """
        count, much = len(moving.time_s), rng.uniform(0, 1, (len(moving.time_s), 1, 1)).astype(np.float32)
        body = moving.body.copy()
        body[..., : self._shapes.shape[1]] += much * _OTHER_BUILD * rng.normal(0, 1, (count, 1, self._shapes.shape[1]))
        body[..., self._shapes.shape[1] :] += much * _OTHER_POSE * rng.normal(0, 1, (count, 1, self._pose.shape[-1]))
        angles = _OTHER_TURN * rng.normal(0, 1, (count, 1)) * much[:, 0] * moving.up.mean(1)
        turned = Rotation.from_rotvec(angles + much[:, 0] * _TILT * rng.normal(0, 1, (count, 3))).as_matrix()
        turned = turned.astype(np.float32)
        turn, middle = turned[:, None] @ moving.turn, moving.pelvis.mean(1, keepdims=True)
        pelvis = middle + (moving.pelvis - middle) @ turned.swapaxes(1, 2)
        return replace(moving, turn=turn, pelvis=pelvis, body=body, keypoints=self._keypoints(turn, body))

    def _keypoints(self, turn: FloatArray, body: FloatArray) -> FloatArray:
        """(B, T, K, 3) from the pelvis, of orientations (B, T, 3, 3) and entries (B, T, E − 9)."""
        shape = body.shape[:2]
        columns = turn[..., :2].swapaxes(-1, -2).reshape(*shape, 6) / ROTATION_SCALE
        entries = np.concatenate([columns, np.zeros((*shape, 3), np.float32), body], -1)
        return np.asarray(self.kinematics.keypoints(entries.reshape(-1, ENTRIES)).reshape(*shape, -1, 3))

    def _motion(
        self, time_s: Float64Array, rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray, FloatArray, BoolArray]:
        """Pose (B, T, P), orientation (B, T, 3, 3), position (B, T, 3) and contacts (B, T, 4) in the world."""
        count = len(time_s)
        clip = rng.choice(len(self._share), count, p=self._share)
        speed = np.exp(rng.uniform(np.log(0.7), np.log(1.4), (count, 1)))
        begin = rng.uniform(0, 1, count) * self._last[clip]
        # A motion that is too short is played forwards and backwards.
        last = np.maximum(self._last[clip], 1)[:, None]
        played = last - np.abs((begin[:, None] + FPS * speed * time_s) % (2 * last) - last)
        before = np.minimum(played.astype(int), np.maximum(self._last[clip][:, None] - 1, 0))
        after, rest = np.minimum(before + 1, self._last[clip][:, None]), (played - before)[..., None].astype(np.float32)
        rows = self._first[clip][:, None]

        def between(array: FloatArray) -> FloatArray:
            return np.asarray(array[rows + before] * (1 - rest) + array[rows + after] * rest)

        pose = between(self._pose)
        curl = rng.normal(0, 0.25, (count, 1, 4)).astype(np.float32) * self._no_fingers[clip][:, None, None]
        pose[..., _HANDS] += curl @ self._by_curl
        changed = rng.random(count) < _OTHER_LEGS
        pose[changed, :, _LEGS] = pose[rng.permutation(count)][changed, :, _LEGS]
        root = orientation(between(self._root).reshape(-1, 6), CROSS).reshape(*played.shape, 3, 3)
        return pose, root, between(self._place), self._contacts[rows + np.rint(played).astype(int)]


def _encoded(
    space: LabelSpace, windows: MotionWindows, rows: IntArray
) -> list[tuple[FloatArray, FloatArray, FloatArray]]:
    """Pose (N, P), orientation's entries (N, 6) and position (N, 3), of frames and of their mirror images."""
    bodies = windows.bodies(rows, _CURL)
    encoded = []
    for body in (bodies, bodies.mirrored()):
        columns = body.rotations[:, 0, :, :2].transpose(1, 2).flatten(1) / ROTATION_SCALE
        encoded.append(
            (space.encode_pose(body.rotations, body.curl).numpy(), columns.numpy(), body.translation.numpy())
        )
    return encoded


def _leg_lengths(model: BodyModel) -> FloatArray:
    """(11,) height of the root above the ankles in the rest pose, metres, of the mean shape and by its coefficients."""
    joints = model.rest_joints
    return np.asarray(joints[:, 18, 1] - joints[:, 0, 1], np.float32)


def _cameras(count: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Rotations (B, 3, 3) from world to camera, size (B, 2) and focal length (B,) in widths of the picture."""
    level = rng.random(count) < 0.75
    pitch = np.where(level, rng.normal(0.07, 0.14, count), rng.uniform(-0.9, 1.05, count))
    roll = np.where(rng.random(count) < 0.85, rng.normal(0, 0.03, count), rng.uniform(-1.05, 1.05, count))
    angles = np.stack([rng.uniform(0, 2 * np.pi, count), -pitch, roll], 1)
    rotations = Rotation.from_euler("yxz", angles).as_matrix()
    heights = rng.choice([9 / 16, 3 / 4, 1.0, 4 / 3, 16 / 9], count, p=[0.35, 0.25, 0.1, 0.15, 0.15])
    size = np.stack([np.ones(count), heights], 1)
    focal = np.exp(rng.uniform(np.log(0.8), np.log(3.0), count))
    return rotations.astype(np.float32), size.astype(np.float32), focal.astype(np.float32)


def _before_camera(
    path: FloatArray, keypoints: FloatArray, size: FloatArray, focal: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """(B, 3) where the paths (B, T, 3) begin: 1.2 to 9 m away, those who do not fit into the picture cut off below."""
    count = len(path)
    distance = np.exp(rng.uniform(np.log(1.2), np.log(9), count))
    nearest = (path[..., None, 2] + keypoints[..., 2]).min((1, 2))
    distance = np.maximum(distance, 0.6 - nearest)
    too_large = 1.7 * focal / distance > 0.9 * size[:, 1]
    across = np.clip(rng.normal(0, 0.18, count), -0.45, 0.45)
    # The height of what is in the picture's middle, above the pelvis.
    middle_m = np.where(too_large & (rng.random(count) < 0.7), rng.uniform(0, 0.65, count), rng.normal(0, 0.05, count))
    down = middle_m * focal / distance + rng.normal(0, 0.1, count) * size[:, 1]
    place = np.stack([across / focal, down / focal, np.ones(count)], 1) * distance[:, None]
    return np.asarray(place, np.float32)
