"""Rendered clips whose truth is known, with what networks saw of them: windows of them, and their errors.

A clip is a file of 64 frames (`sender.train.lifting.clips`).  Windows of clips are fed as they are; the errors of
others are transplanted onto motions.  Keypoints are perception's, MoveNet's, or both together.

Shapes: N clips, L frames of a clip, B windows, T frames, K = 17 keypoints, E = 80 entries.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.arrays import BoolArray, Float64Array, FloatArray, IntArray
from common.body.label_space import LabelSpace
from common.body.rotations import axis_angle_to_matrix
from sender.semantics.crop_labels import ENTRIES
from sender.semantics.keypoint_jacobian import CROSS, orientation
from sender.semantics.lifting.window import crop_rotation
from sender.train.lifting.errors import KeypointErrors, PerceivedErrors
from sender.train.lifting.mirrored import mirrored
from sender.train.lifting.motions import Moving
from sender.train.lifting.observed import Boxes, in_crop_cameras, in_crops

_SOURCES = ("perception", "thunder", "lightning", "both", "both_fast")
_SHARES = (0.2, 0.2, 0.1, 0.3, 0.2)
# log σ of MoveNet's keypoints, crop widths, at a score of a half, and by half the log odds of the score.
_LOG_SIGMA, _BY_SCORE, _SIGMAS = -3.8, -1.6, (0.01, 0.2)
_FARTHEST, _LEAST_SIGMA = 0.3, 0.004
# Standard deviations of the difference, beyond which two places are of two limbs.
_APART = 3.0
_FPS = 30


@dataclass(frozen=True, slots=True)
class Readings:
    """Keypoints of each of S sources: places (S, N, L, K, 2), σ and visible (S, N, L, K), crop units and 0…1."""

    places: FloatArray
    sigma: FloatArray
    visible: FloatArray


class RecordedClips:
    """The clips of a folder, and their mirror images.

    Raises:
        FileNotFoundError: there are none.
    """

    def __init__(self, folder: Path) -> None:
        files = sorted(folder.glob("*.npz"))
        if not files:
            raise FileNotFoundError(f"no clips in {folder}")
        space, clips = LabelSpace.load(), [_loaded(file) for file in files]
        clips += [mirrored(clip, space) for clip in clips]
        self._arrays = {name: np.stack([clip[name] for clip in clips]) for name in clips[0]}
        self._moving = _truth(self._arrays)
        self._boxes = _boxes(self._arrays)
        self._readings = _readings(self._arrays)
        self._in_crops = in_crops(self._moving.places, self._boxes)
        self._seen = self._arrays["seen"].astype(bool)
        self._inside = self._moving.inside & self._seen[..., None]
        focal = self._moving.focal[:, None]
        self._turn = crop_rotation(self._boxes.centre / focal[..., None], self._boxes.roll)
        self._perceived = self._wrong()

    def __len__(self) -> int:
        return len(self._seen)

    def draw(
        self, count: int, frames: int, rng: np.random.Generator, fps: float | None = None
    ) -> tuple[Moving, Boxes, tuple[KeypointErrors, PerceivedErrors], BoolArray]:
        """`count` windows of as many frames: the truth, crops, errors, and (B, T) whether the person was seen."""
        length = self._seen.shape[1]
        clip = rng.integers(len(self), size=count)
        step = np.ones(count, int) if fps else rng.choice([1, 1, 1, 2, 2, 3], count)
        step = np.minimum(step, max(1, (length - 1) // max(frames - 1, 1)))
        span = step * (frames - 1) + 1
        rows = (rng.random(count) * (length - span + 1)).astype(int)[:, None] + step[:, None] * np.arange(frames)
        at = (clip[:, None], rows)
        moving = Moving(
            *(getattr(self._moving, name)[at] for name in _OF_FRAMES),
            *(getattr(self._moving, name)[clip] for name in ("size", "focal", "still")),
        )
        boxes = Boxes(*(each[at] for each in (self._boxes.centre, self._boxes.side, self._boxes.roll)))
        source = rng.choice(len(_SOURCES), count, p=_SHARES)
        read = self._read(source, at)
        return moving, boxes, (read, self._of_perception(at)), self._seen[at]

    def errors(
        self,
        synthetic: tuple[KeypointErrors, PerceivedErrors],
        inside: BoolArray,
        time_s: Float64Array,
        rng: np.random.Generator,
    ) -> tuple[KeypointErrors, PerceivedErrors]:
        """Of windows whose frames are at `time_s` (B, T): those of clips, played forwards and backwards.

        Args:
            synthetic: those that keypoints keep which are outside of either picture.
            inside: (B, T, K) whether keypoints are in the picture.
        """
        count, last = len(time_s), self._seen.shape[1] - 1
        clip, source = rng.integers(len(self), size=count), rng.choice(len(_SOURCES), count, p=_SHARES)
        played = rng.integers(last, size=(count, 1)) + np.rint(time_s * _FPS).astype(int)
        at = (clip[:, None], last - np.abs(played % (2 * last) - last))
        read, known = self._read(source, at), inside & self._inside[at]
        of_keypoints = KeypointErrors(
            np.where(known[..., None], read.offset, synthetic[0].offset),
            np.where(known, read.sigma, synthetic[0].sigma),
            np.where(known, read.visible, synthetic[0].visible),
        )
        seen, found = self._seen[at], self._of_perception(at)
        kept = {
            name: np.where(seen.reshape(*seen.shape, *(1,) * (value.ndim - 2)), value, getattr(synthetic[1], name))
            for name, value in ((name, getattr(found, name)) for name in PerceivedErrors.__slots__)
        }
        return of_keypoints, PerceivedErrors(**kept)

    def _read(self, source: IntArray, at: tuple[IntArray, IntArray]) -> KeypointErrors:
        of_source = (source[:, None], *at)
        offset = np.clip(self._readings.places[of_source] - self._in_crops[at], -_FARTHEST, _FARTHEST)
        return KeypointErrors(offset, self._readings.sigma[of_source], self._readings.visible[of_source])

    def _of_perception(self, at: tuple[IntArray, IntArray]) -> PerceivedErrors:
        return PerceivedErrors(*(getattr(self._perceived, name)[at] for name in PerceivedErrors.__slots__))

    def _wrong(self) -> PerceivedErrors:
        """The errors of perception's predictions, (N, L, …)."""
        true = in_crop_cameras(self._moving, self._turn, self._boxes.side / self._moving.focal[:, None])
        joints, said = self._moving.keypoints @ self._turn, self._arrays
        shape = true.shape[:2]
        turns, true_turns = (orientation(each.reshape(-1, ENTRIES), CROSS) for each in (said["pose_entries"], true))
        return PerceivedErrors(
            (turns @ true_turns.swapaxes(1, 2)).reshape(*shape, 3, 3),
            said["pose_entries"] - true,
            said["pose_log_sigma"],
            said["joints_3d"] - joints,
            said["joints_log_variance"],
            said["joint_depth"] - joints[..., 2],
            said["depth_log_variance"],
        )


_OF_FRAMES = ("time_s", "turn", "pelvis", "keypoints", "body", "contacts", "up")


def _loaded(file: Path) -> dict[str, Any]:
    with np.load(file, allow_pickle=False) as arrays:
        names = set(arrays.files) - {"summary", "name", "kind", "framing"}
        return {name: np.asarray(arrays[name]) for name in sorted(names)}


def _truth(clips: Mapping[str, Any]) -> Moving:
    space, length = LabelSpace.load(), clips["time_s"].shape[1]
    turns = axis_angle_to_matrix(torch.from_numpy(clips["rotations"]))
    pose = space.encode_pose(turns.flatten(0, 1), torch.from_numpy(clips["curl"]).flatten(0, 1)).numpy()
    shape = np.repeat(clips["shape"][:, None], length, 1)
    width, height, focal = clips["camera"].T
    return Moving(
        time_s=clips["time_s"],
        turn=turns[:, :, 0].numpy(),
        pelvis=clips["translation"],
        keypoints=clips["keypoints_3d"] - clips["translation"][:, :, None],
        body=np.concatenate([shape, pose.reshape(*shape.shape[:2], -1)], -1).astype(np.float32),
        contacts=clips["contacts"].astype(bool),
        up=clips["up"],
        size=np.stack([np.ones_like(width), height / width], 1).astype(np.float32),
        focal=(focal / width).astype(np.float32),
        still=~clips["moving"].astype(bool),
    )


def _boxes(clips: Mapping[str, Any]) -> Boxes:
    left, top, side, roll = np.moveaxis(clips["crop"], -1, 0)
    width, height = clips["camera"][:, :1], clips["camera"][:, 1:2]
    centre = np.stack([left + side / 2 - width / 2, top + side / 2 - height / 2], -1) / width[..., None]
    return Boxes(centre.astype(np.float32), np.maximum(side / width, 0.01).astype(np.float32), roll)


def _readings(clips: Mapping[str, Any]) -> Readings:
    own = (clips["keypoints_2d"], clips["keypoints_sigma"], 1 / (1 + np.exp(-clips["visible_logit"])))
    thunder, lightning = (_of_movenet(clips[name]) for name in ("thunder", "lightning"))
    readings = (own, thunder, lightning, _together(own, thunder), _together(own, lightning))
    return Readings(*(np.stack(each).astype(np.float32) for each in zip(*readings, strict=True)))


def _of_movenet(said: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Places, σ and visibility of what MoveNet says (N, L, K, 3): x, y, score."""
    score = np.clip(said[..., 2], 0.02, 0.98)
    half_odds = np.log(score / (1 - score)) / 2
    visible = 1 / (1 + np.exp(-4 * half_odds - 1.5))
    sigma = np.clip(np.exp(_LOG_SIGMA + _BY_SCORE * half_odds), *_SIGMAS)
    return said[..., :2], np.asarray(sigma, np.float32), np.asarray(visible, np.float32)


def _together(
    one: tuple[FloatArray, FloatArray, FloatArray], other: tuple[FloatArray, FloatArray, FloatArray]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The mean by inverse variances; the more certain one where the two are too far apart."""
    (place, sigma, visible), (other_place, other_sigma, other_visible) = one, other
    weight = np.square(other_sigma) / (np.square(sigma) + np.square(other_sigma))
    apart = np.linalg.norm(place - other_place, axis=-1) > _APART * np.hypot(sigma, other_sigma)
    weight = np.where(apart, (sigma < other_sigma).astype(np.float32), weight)
    mean = weight[..., None] * place + (1 - weight)[..., None] * other_place
    both = np.maximum(sigma * other_sigma / np.hypot(sigma, other_sigma), _LEAST_SIGMA)
    spread = np.asarray(np.where(apart, 1.5 * np.minimum(sigma, other_sigma), both), np.float32)
    return np.asarray(mean, np.float32), spread, np.asarray((visible + other_visible) / 2, np.float32)
