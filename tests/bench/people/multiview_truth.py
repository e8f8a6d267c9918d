"""3D keypoints of people before several calibrated cameras, triangulated from perception's keypoints in every view.

    views ─ level ─ people of single frames ─ the same person in all views ─ triangulation ─ boxes of all frames
                                                                  smoothing ─ triangulation ─ perception ─┘

The calibration says how each camera is rolled, and its frames are turned upright first.  A keypoint's views are weighed
by perception's standard deviations and by Geman and McClure's robust weights; left and right of a view are exchanged
where that fits the others better.  It is the estimate of one network from several views, not a measurement: occluded
joints share its errors.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Self

import cv2
import numpy as np
from scipy.ndimage import median_filter
from scipy.optimize import linear_sum_assignment
from scipy.signal import savgol_filter

from common.arrays import BoolArray, Box, Float64Array, Image, IntArray
from common.body.anatomy import MIRRORED_KEYPOINTS
from common.errors import SourceError
from sender.capture.source import camera_of
from sender.capture.video import VideoFileSource
from sender.config import TrackerConfig
from sender.perception.crop import CropBox
from sender.perception.detect import Detector
from sender.perception.perception_network import PerceptionOutput
from sender.perception.perception_stage import PerceptionStage
from sender.perception.predictor import Perception
from sender.perception.read import Verifier, predict_in_boxes

# COCO's shoulders and hips, which are seen best, associate the views.
_TRUNK = [5, 6, 11, 12]
# Reprojection errors over the size of the person in the view: of the middle of the trunk of one person; at which a view
# counts a quarter, iteration after iteration; at most; and that of a view that is missing.
_SAME_TRUNK, _ROBUST, _WORST, _MISSING_VIEW = 0.1, (0.2, 0.15, 0.1, 0.07, 0.05, 0.05), 0.3, 0.01
# Least standard deviation of a keypoint, over the size; and how much better left and right fit if they are exchanged.
_LEAST_SIGMA, _EXCHANGED = 0.01, 0.7
_MOST_PER_VIEW = 4
_LEAST_VIEWS = 3
# People are looked for in one frame of so many, and a cubic is fitted to so many.
_KEY_FRAMES, _SMOOTHED_FRAMES = 5, 9
# A view agrees with a joint at this share of the person's size; and a joint that is farther from its median jumps.
_AGREES, _JUMP_M = 0.06, 0.06


@dataclass(frozen=True, slots=True)
class CalibratedCamera:
    """A camera whose place is known.

    Args:
        matrix: (3, 3) in pixels.
        distortion: (4,) k1, k2, p1, p2 of OpenCV.
        rotation: (3, 3) world to camera.
        translation: (3,) metres; x_camera = R x + t.
    """

    file: str
    matrix: Float64Array
    distortion: Float64Array
    rotation: Float64Array
    translation: Float64Array

    @classmethod
    def read(cls, folder: Path) -> list[Self]:
        """The cameras of `cameras.json`.

        Raises:
            SourceError: it is missing or damaged.
        """
        try:
            entries = json.loads((folder / "cameras.json").read_bytes())
            return [
                cls(entry["file"], *(np.array(entry[name], np.float64) for name in ("K", "distortion", "R", "t")))
                for entry in entries
            ]
        except (OSError, ValueError, KeyError) as error:
            raise SourceError(f"cannot read {folder / 'cameras.json'}: {error}") from error

    def to_camera(self, points: Float64Array) -> Float64Array:
        """(…, 3) world → camera, metres."""
        return np.asarray(points @ self.rotation.T + self.translation)

    def project(self, points: Float64Array) -> Float64Array:
        """(…, 3) world, metres → (…, 2) pixels."""
        vector, _ = cv2.Rodrigues(self.rotation)
        flat = np.ascontiguousarray(points.reshape(-1, 3))
        pixels, _ = cv2.projectPoints(flat, vector, self.translation, self.matrix, self.distortion)
        return np.asarray(pixels, np.float64).reshape(*points.shape[:-1], 2)

    def levelled(self, width: int, height: int) -> tuple["CalibratedCamera", Float64Array, tuple[int, int]]:
        """The camera rolled so that the world's z points up, the transform (2, 3) of its pixels, and the new size."""
        across, up = self.rotation[:2, 2]
        angle = float(np.arctan2(across, -up))
        cos, sin = np.cos(angle), np.sin(angle)
        roll = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
        wide = round(abs(cos) * width + abs(sin) * height), round(abs(sin) * width + abs(cos) * height)
        shift = np.array(wide) / 2 - roll[:2, :2] @ [width / 2, height / 2]
        matrix = self.matrix.copy()
        matrix[:2, 2] = roll[:2, :2] @ self.matrix[:2, 2] + shift
        camera = CalibratedCamera(
            self.file, matrix, self.distortion, roll @ self.rotation, np.asarray(roll @ self.translation)
        )
        return camera, np.concatenate([roll[:2, :2], shift[:, None]], axis=1), wide

    def rays(self, pixels: Float64Array) -> Float64Array:
        """(…, 2) pixels → (…, 2) x/z, y/z without distortion."""
        flat = np.ascontiguousarray(pixels.reshape(-1, 1, 2))
        return np.asarray(cv2.undistortPoints(flat, self.matrix, self.distortion), np.float64).reshape(pixels.shape)


@dataclass(frozen=True, slots=True)
class SeenKeypoints:
    """One person in one view: (17, 2) pixels and their standard deviations (17,), pixels."""

    pixels: Float64Array
    sigma: Float64Array

    @property
    def size(self) -> float:
        """Longer side of the box around the keypoints, pixels."""
        return float(np.ptp(self.pixels, axis=0).max())


@dataclass(frozen=True, slots=True)
class TruePeople:
    """P people in T frames.

    Args:
        joints: (P, T, 17, 3) world, metres; NaN where the views do not agree.
        reprojection_px: median distance between the views' keypoints and the projected joints.
    """

    joints: Float64Array
    reprojection_px: float


def triangulated(cameras: Sequence[CalibratedCamera], views: Sequence[SeenKeypoints]) -> Float64Array:
    """(17, 3) world, metres, from the keypoints in two or more views, robustly."""
    seen = list(views)
    joints = _linear(cameras, seen, [1 / view.sigma**2 for view in seen])
    for robust in _ROBUST:
        weights = []
        for index, (camera, view) in enumerate(zip(cameras, seen, strict=True)):
            place = camera.project(joints)
            mirrored = SeenKeypoints(view.pixels[MIRRORED_KEYPOINTS], view.sigma[MIRRORED_KEYPOINTS])
            if _misfit(place, mirrored) < _EXCHANGED * _misfit(place, view):
                seen[index] = view = mirrored
            residual = np.linalg.norm(view.pixels - place, axis=1) / view.size
            weights.append(1 / (1 + (residual / robust) ** 2) ** 2 / (view.sigma**2 + (_LEAST_SIGMA * view.size) ** 2))
        joints = _linear(cameras, seen, weights)
    return joints


def _misfit(place: Float64Array, view: SeenKeypoints) -> float:
    """Mean distance of the body's keypoints from places (17, 2), over the person's size, at most `_WORST` each."""
    distance = np.linalg.norm(view.pixels - place, axis=1)[5:] / view.size
    return float(np.minimum(distance, _WORST).mean())


def _linear(
    cameras: Sequence[CalibratedCamera], seen: Sequence[SeenKeypoints], weights: Sequence[Float64Array]
) -> Float64Array:
    """Direct linear transform of each joint, weighed."""
    count = len(seen[0].pixels)
    left, right = np.zeros((count, 3, 3)), np.zeros((count, 3))
    for camera, view, weight in zip(cameras, seen, weights, strict=True):
        rays = camera.rays(view.pixels)
        for axis in range(2):
            rows = camera.rotation[axis] - rays[:, axis, None] * camera.rotation[2]
            offsets = rays[:, axis] * camera.translation[2] - camera.translation[axis]
            left += weight[:, None, None] * rows[:, :, None] * rows[:, None, :]
            right += (weight * offsets)[:, None] * rows
    return np.asarray(np.linalg.solve(left, right[..., None])[..., 0])


class SeveralViews:
    """Perception of single frames, of everybody in them or in given boxes.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self) -> None:
        self._perception = Perception.load()
        limits = TrackerConfig(max_people=_MOST_PER_VIEW)
        self._stage = PerceptionStage(Detector.load(), self._perception, Verifier.load(), limits)

    def people(self, image: Image) -> list[SeenKeypoints]:
        """Everybody in a frame."""
        self._stage.reset()
        camera = camera_of(image, None)
        return [_keypoints(person.output, person.crop) for person in self._stage.process(image, camera)]

    def person(self, image: Image, box: Box) -> SeenKeypoints:
        """Whoever is in a box."""
        found = predict_in_boxes(self._perception, image, [box], thorough=True)
        return _keypoints(found.output, found.crops[0])


def _keypoints(output: PerceptionOutput, crop: CropBox) -> SeenKeypoints:
    pixels, sigma = crop.to_pixels(output.keypoints_2d[0].numpy()), crop.side * output.keypoints_sigma[0].numpy()
    return SeenKeypoints(pixels.astype(np.float64), sigma.astype(np.float64))


def same_people(
    cameras: Sequence[CalibratedCamera], views: Sequence[Sequence[SeenKeypoints]], count: int
) -> list[Float64Array]:
    """The joints (17, 3) of up to `count` people whom at least three views agree on, those that fit best first."""
    found = []
    for numbers in product(*[[None, *range(len(view))] for view in views]):
        chosen = [
            (camera, view[number])
            for camera, view, number in zip(cameras, views, numbers, strict=True)
            if number is not None
        ]
        if len(chosen) < _LEAST_VIEWS or _trunk_error(*zip(*chosen, strict=True)) > _SAME_TRUNK:
            continue
        joints = triangulated(*zip(*chosen, strict=True))
        misfit = np.mean([_misfit(camera.project(joints), view) for camera, view in chosen])
        found.append((float(misfit) + _MISSING_VIEW * (len(views) - len(chosen)), numbers, joints))
    people: list[Float64Array] = []
    taken: list[set[int | None]] = [{None} for _ in views]
    for _, numbers, joints in sorted(found, key=lambda item: item[0]):
        free = all(number is None or number not in used for number, used in zip(numbers, taken, strict=True))
        if free and len(people) < count:
            people.append(joints)
            for number, used in zip(numbers, taken, strict=True):
                used.add(number)
    return people


def _trunk_error(cameras: Sequence[CalibratedCamera], seen: Sequence[SeenKeypoints]) -> float:
    """By how much the middle of the trunk, triangulated, misses that of the view that it fits worst, over its size."""
    middles = [SeenKeypoints(view.pixels[_TRUNK].mean(axis=0, keepdims=True), np.ones(1)) for view in seen]
    middle = _linear(cameras, middles, [np.ones(1)] * len(middles))
    misses = [
        np.linalg.norm(camera.project(middle) - view.pixels) for camera, view in zip(cameras, middles, strict=True)
    ]
    return max(float(miss) / view.size for miss, view in zip(misses, seen, strict=True))


def levelled_views(
    folder: Path, cameras: Sequence[CalibratedCamera], limit: int | None = None
) -> tuple[list[CalibratedCamera], list[list[Image]]]:
    """The cameras and the first `limit` frames of their clips, turned upright.

    Raises:
        SourceError: a clip is missing or damaged.
    """
    level, clips = [], []
    for camera in cameras:
        with VideoFileSource(folder / camera.file) as source:
            images = [frame.image for frame in islice(source, limit)]
        height, width = images[0].shape[:2]
        upright, turn, size = camera.levelled(width, height)
        level.append(upright)
        clips.append([np.asarray(cv2.warpAffine(image, turn, size), np.uint8) for image in images])
    return level, clips


def true_people(cameras: Sequence[CalibratedCamera], clips: Sequence[Sequence[Image]], count: int) -> TruePeople:
    """The `count` people who are seen from all sides in every frame.

    Raises:
        SourceError: fewer are found.
    """
    views = SeveralViews()
    frames = min(len(clip) for clip in clips)
    key_frames = sorted({*range(0, frames, _KEY_FRAMES), frames - 1})
    people: list[list[Float64Array]] = []
    known = []
    for number in key_frames:
        found = same_people(cameras, [views.people(clip[number]) for clip in clips], count)
        if len(found) == count:
            people.append(_in_order(found, people[-1]) if people else found)
            known.append(number)
    if not known:
        raise SourceError(f"the views never agree on {count} people")
    rough = _interpolated(np.array(known), np.array(people), frames)
    joints, agreeing, errors = np.empty((count, frames, 17, 3)), np.empty((count, frames, 17)), []
    for person, number in product(range(count), range(frames)):
        seen = [
            views.person(clip[number], _box(camera.project(rough[number, person])))
            for camera, clip in zip(cameras, clips, strict=True)
        ]
        joint = triangulated(cameras, seen)
        places = [camera.project(joint) for camera in cameras]
        misses = np.stack(
            [np.linalg.norm(place - view.pixels, axis=1) for place, view in zip(places, seen, strict=True)]
        )
        near = misses < _AGREES * np.array([[view.size] for view in seen])
        joints[person, number], agreeing[person, number] = joint, near.sum(axis=0)
        errors.append(misses)
    return TruePeople(_smoothed(joints, agreeing >= _LEAST_VIEWS), float(np.median(np.concatenate(errors))))


def _smoothed(joints: Float64Array, known: BoolArray) -> Float64Array:
    """(P, T, 17, 3) over time; NaN where the views do not agree (`known`, (P, T, 17)) or the joint jumps."""
    middle = median_filter(joints, (1, _SMOOTHED_FRAMES, 1, 1), mode="nearest")
    known = known & (np.linalg.norm(joints - middle, axis=-1) < _JUMP_M)
    frames = np.arange(joints.shape[1])
    filled = joints.copy()
    for person, joint in np.ndindex(joints.shape[0], joints.shape[2]):
        there = known[person, :, joint]
        if there.any():
            for axis in range(3):
                column = joints[person, there, joint, axis]
                filled[person, :, joint, axis] = np.interp(frames, frames[there], column)
    smooth = savgol_filter(filled, _SMOOTHED_FRAMES, 3, axis=1)
    return np.where(known[..., None], smooth, np.nan)


def _in_order(found: Sequence[Float64Array], before: Sequence[Float64Array]) -> list[Float64Array]:
    """The people, in the order of those of an earlier frame."""
    distance = np.array([[np.linalg.norm(new - old, axis=-1).mean() for new in found] for old in before])
    return [found[column] for column in linear_sum_assignment(distance)[1]]


def _interpolated(known: IntArray, people: Float64Array, frames: int) -> Float64Array:
    """(T, P, 17, 3) between those of the known frames (K, P, 17, 3)."""
    flat = people.reshape(len(known), -1)
    columns = [np.interp(np.arange(frames), known, column) for column in flat.T]
    return np.stack(columns, axis=1).reshape(frames, *people.shape[1:])


def _box(pixels: Float64Array) -> Box:
    """Around a person's keypoints (17, 2), with margins beyond ankles and eyes."""
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    margin = 0.12 * float((high - low).max())
    return np.concatenate([low - margin, high + margin]).astype(np.float32)
