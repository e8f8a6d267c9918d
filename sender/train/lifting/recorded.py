"""What perception says of moving people: as recorded in rendered clips, or with errors transplanted from these.

A clip is a file of 64 frames (`sender.train.lifting.clips`).  Others are imagined: people who move before cameras, what
perception would see, and what is fitted to it.  Their errors are those of a recorded clip, transplanted onto another
motion, or onto nearly the same one; bodies are fitted to the keypoints as the sender fits them, so that what is off is
what pictures do not show.  (Without, they contradict their keypoints; who learned from such was 8 mm worse on real
people.)

Shapes: N clips of L frames, B windows of T frames, K = 17 keypoints, E = 80 entries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from common.arrays import BoolArray, Float64Array, FloatArray, IntArray
from common.body.anatomy import MIRROR_SIGNS, MIRRORED_KEYPOINTS
from common.body.label_space import LabelSpace
from common.frames import Camera
from common.labels import LABEL_SIZE, ROTATION_SCALE, group_slices
from sender.perception.crop import CropBox, View, crop_rotation
from sender.perception.heads import KEYPOINTS
from sender.semantics.bodies import (
    CROSS,
    ENTRIES,
    body_in_crop,
    crop_entries,
    entries_in_crops,
    entries_in_frame,
    entries_of_pelvis,
    orientation,
)
from sender.semantics.lifting_network import Observations, rolled
from sender.semantics.refine import Refiner, Targets
from sender.semantics.smoothing import Filtered, LabelSmoother
from sender.train.lifting.motions import MIRRORED_CONTACTS, Motions, Moving

# Of the assumed focal length's error, as a factor's log.
_WRONG_FOCAL = 0.25
_LEAST_SIDE = 0.03
# Of a person's whole size that a crop has at least, and keypoints in the picture of whom a detector finds.
_LEAST_SHARE, _LEAST_INSIDE = 0.4, 4
# Standard deviation of the logs of σ, for a window.
_UNSURE = 0.25
# Of the errors of clips: people before real cameras shake a fifth as much as rendered ones.
_LEAST_ERRORS = 0.25
_LOST_SHARE, _LOST_S = 0.15, (0.1, 1.0)
# Largest error of a keypoint that is fed, crop widths; σ and probability of those that no clip shows.
_FARTHEST, _NOWHERE, _HARDLY = 0.3, 0.1, 0.1
# As clips number them → as windows do, and as smoothing names these.
_VIEWS = np.array([0, 1, 0.5], np.float32)
_NAMES: dict[float, View] = {0.0: "plain", 1.0: "mirrored", 0.5: "both"}
_WIDTH_PX: Final = 1280
# Share of the imagined clips that are nearly a rendered one, and frames in which somebody was seen.
_NEARBY, _LEAST_SEEN = 0.4, 16
# What is fitted is closer than what was predicted: by how much the errors of fits are enlarged before.
_MORE = (1.0, 2.2)
_SIGNS = np.array(MIRROR_SIGNS, np.float32)


@dataclass(frozen=True, slots=True)
class Boxes:
    """Crops: `centre` (B, T, 2) from the principal point and `side` (B, T), widths of the picture; `roll` (B, T)."""

    centre: FloatArray
    side: FloatArray
    roll: FloatArray

    def turn(self, moving: Moving) -> FloatArray:
        """(B, T, 3, 3) from the crops' axes to those of the camera."""
        return crop_rotation(self.centre / moving.focal[:, None, None], self.roll)

    def places(self, points: FloatArray) -> FloatArray:
        """(B, T, K, 2) in the picture → crop units."""
        turned = rolled(points - self.centre[:, :, None], -self.roll)
        return np.asarray(turned / self.side[..., None, None] + 0.5, np.float32)


@dataclass(frozen=True, slots=True)
class Errors:
    """Of what is seen and fitted.

    Args:
        view: (B, T) as in `Observations`.
        offset, sigma, visible: of keypoints (B, T, K, 2) and (B, T, K), crop widths, and probabilities.
        fitted, smoothed, smoothed_later: changes (B, T, E) from the truth to bodies fitted to each frame, and to these
            smoothed over earlier frames, or over all.
        log_sigma: (B, T, E) the logs of σ of what is fitted.
        joints_3d, joints_log_variance: (B, T, K, 3) metres, and (B, T, K).
        joint_depth, depth_log_variance: (B, T, K) metres, and (B, T).
    """

    view: FloatArray
    offset: FloatArray
    sigma: FloatArray
    visible: FloatArray
    fitted: FloatArray
    smoothed: FloatArray
    smoothed_later: FloatArray
    log_sigma: FloatArray
    joints_3d: FloatArray
    joints_log_variance: FloatArray
    joint_depth: FloatArray
    depth_log_variance: FloatArray

    def lessened(self, share: FloatArray) -> Self:
        """With so much of what is off: `share` (B,)."""
        names = "offset", "fitted", "smoothed", "smoothed_later", "joints_3d", "joint_depth"
        off = {name: getattr(self, name) for name in names}
        return replace(self, **{name: share.reshape(-1, *[1] * (each.ndim - 1)) * each for name, each in off.items()})


@dataclass(frozen=True, slots=True)
class RecordedClips:
    """N clips: the truth, crops, errors of what was seen, and (N, L) whether the person was seen."""

    moving: Moving
    boxes: Boxes
    errors: Errors
    seen: BoolArray

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The clips of a folder, their mirror images, and both backwards.

        Raises:
            FileNotFoundError: there are none.
        """
        clips = []
        for file in sorted(folder.glob("*.npz")):
            with np.load(file, allow_pickle=False) as stored:
                clips.append({name: np.asarray(stored[name]) for name in stored.files})
        if not clips:
            raise FileNotFoundError(f"no clips in {folder}")
        arrays = {name: np.stack([clip[name] for clip in clips]) for name in clips[0]}
        arrays["view"] = _VIEWS[arrays["view"]]
        for changed in (mirrored, backwards):
            others = changed(arrays)
            arrays = {name: np.concatenate([each, others[name]]) for name, each in arrays.items()}
        return cls.of(arrays)

    @classmethod
    def of(cls, clips: Mapping[str, Any]) -> Self:
        """Of the arrays of N clips, as their files have them."""
        moving = Moving(**{item.name: clips[item.name] for item in fields(Moving)})
        left, top, side, roll = np.moveaxis(clips["crop"], -1, 0)
        width, height = clips["camera"][:, :1], clips["camera"][:, 1:2]
        centre = np.stack([left + side / 2 - width / 2, top + side / 2 - height / 2], -1) / width[..., None]
        boxes = Boxes(centre.astype(np.float32), np.maximum(side / width, 0.01).astype(np.float32), roll)
        seen, turn = clips["seen"].astype(bool), boxes.turn(moving)
        true, joints = true_entries(moving, boxes), moving.keypoints @ turn
        bodies = smoothed(moving, boxes, clips["assumed_focal"] / width[:, 0], clips["entries"], clips["view"], seen)
        offset = np.clip(clips["keypoints_2d"] - boxes.places(moving.places), -_FARTHEST, _FARTHEST)
        fitted, earlier, later = (change(each, true) for each in (clips["entries"], *bodies))
        errors = Errors(
            clips["view"],
            offset,
            clips["keypoints_sigma"],
            1 / (1 + np.exp(-clips["visible_logit"])),
            fitted,
            earlier,
            later,
            clips["log_sigma"],
            clips["joints_3d"] - joints,
            clips["joints_log_variance"],
            clips["joint_depth"] - joints[..., 2],
            clips["depth_log_variance"],
        )
        return cls(moving, boxes, errors, seen)

    def __len__(self) -> int:
        return len(self.seen)

    def at(self, *rows: IntArray) -> Self:
        """Clips (B,); or of clips (B, 1) some frames (B, T)."""
        boxes, errors = (
            {item.name: getattr(part, item.name)[rows] for item in fields(part)} for part in (self.boxes, self.errors)
        )
        return type(self)(self.moving.at(*rows), Boxes(**boxes), Errors(**errors), self.seen[rows])

    def windows(self, count: int, frames: int, rng: np.random.Generator, *, varied: bool) -> Self:
        """`count` windows of as many frames, of clips that are played up to three times as fast if these are varied."""
        length = self.seen.shape[1]
        clip, step = rng.integers(len(self), size=(count, 1)), np.ones((count, 1), int)
        if varied:
            fastest = max(1, (length - 1) // max(frames - 1, 1))
            step = np.minimum(rng.choice([1, 1, 1, 2, 2, 3], (count, 1)), fastest)
        first = (rng.random((count, 1)) * (length - step * (frames - 1))).astype(int)
        return self.at(clip, first + step * np.arange(frames))


def backwards(clips: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of clips (N, L, …), as if these had been played from their ends."""
    of_frames = {name: each[:, ::-1] for name, each in clips.items() if each.shape[:2] == clips["time_s"].shape}
    return {**clips, **of_frames, "time_s": clips["time_s"]}


def mirrored(clips: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of clips (N, L, …), as if their pictures had been mirrored."""
    space, groups = LabelSpace.load(), group_slices()
    left, top, side, roll = np.moveaxis(clips["crop"], -1, 0)
    of_keypoints = "keypoints_sigma", "visible_logit", "joints_log_variance", "joint_depth"
    changed = {name: clips[name][..., MIRRORED_KEYPOINTS] for name in of_keypoints}
    points = {name: clips[name][..., MIRRORED_KEYPOINTS, :] for name in ("joints_3d", "keypoints", "keypoints_2d")}
    changed |= {name: _SIGNS * points[name] for name in ("joints_3d", "keypoints")}
    changed |= {name: _SIGNS * clips[name] for name in ("pelvis", "up")}
    log_sigma, body = clips["log_sigma"].copy(), clips["body"]
    for limb in ("arm", "leg"):
        one, other = groups[f"left_{limb}"], groups[f"right_{limb}"]
        log_sigma[..., one], log_sigma[..., other] = clips["log_sigma"][..., other], clips["log_sigma"][..., one]

    def turned(entries: FloatArray) -> FloatArray:
        flat = torch.from_numpy(entries.reshape(-1, ENTRIES))
        body = body_in_crop(space, flat, torch.ones(len(flat))).mirrored()
        return crop_entries(space, body, torch.ones(len(flat))).numpy().reshape(entries.shape)

    return {
        **clips,
        **changed,
        "keypoints_2d": np.array([1, 0]) + points["keypoints_2d"] * (-1, 1),
        "view": 1 - clips["view"],
        "crop": np.stack([clips["camera"][:, :1] - left - side, top, side, -roll], -1),
        # Of whom nothing was fitted, all entries are 0, and stay it.
        "entries": np.where(clips["entries"].any(-1, keepdims=True), turned(clips["entries"]), np.float32(0)),
        "log_sigma": log_sigma,
        "turn": clips["turn"] * _SIGNS * _SIGNS[:, None],
        "body": turned(np.pad(body, ((0, 0), (0, 0), (ENTRIES - body.shape[2], 0))))[..., -body.shape[2] :],
        "contacts": clips["contacts"][..., MIRRORED_CONTACTS],
    }


def smoothed(
    moving: Moving, boxes: Boxes, focal: FloatArray, entries: FloatArray, view: FloatArray, seen: BoolArray
) -> FloatArray:
    """(2, N, L, E) fitted entries (N, L, E) in crops, smoothed by earlier frames, and by later ones, too.

    They are 0 where nobody was seen; `focal` (N,) as it is assumed, in widths of the picture.
    """
    found = np.zeros((2, *entries.shape), np.float32)
    for clip in range(len(seen)):
        (rows,) = np.nonzero(seen[clip])
        width, height = np.rint(_WIDTH_PX * moving.size[clip]).astype(int).tolist()
        camera, sides = Camera(width, height, float(_WIDTH_PX * focal[clip])), boxes.side[clip, rows, None]
        corners = boxes.centre[clip, rows] - sides / 2 + moving.size[clip] / 2
        whole = np.rint(_WIDTH_PX * np.concatenate([corners, sides], 1)).astype(int).tolist()
        rolls = boxes.roll[clip, rows].tolist()
        crops = [CropBox(left, top, side, roll) for (left, top, side), roll in zip(whole, rolls, strict=True)]
        labels = np.zeros((len(rows), LABEL_SIZE), np.float32)
        labels[:, :ENTRIES] = entries_in_frame(entries[clip, rows], crops, camera)
        times, views = moving.time_s[clip, rows].tolist(), [_NAMES[float(each)] for each in view[clip, rows]]
        # Both ways, as `FixedLagSmoother` does where it knows all that follows; there with half of the gain.
        smoother, on, back = LabelSmoother(), Filtered(), Filtered()
        causal = [smoother.smooth(on, *each) for each in zip(times, labels, views, strict=True)]
        later = [smoother.smooth(back, -time_s, row) for time_s, row in zip(times[::-1], causal[::-1], strict=True)]
        for each, rows_of in zip(found, (causal, later[::-1]), strict=True):
            each[clip, rows] = entries_in_crops(np.stack(rows_of)[:, :ENTRIES], crops, camera)
    return found


def change(entries: FloatArray, true: FloatArray) -> FloatArray:
    """(…, E) from true entries to others: of the root a rotation vector and three times 0, of the rest differences.

    Of whom nothing is fitted, the root is not turned.
    """
    known = np.where(entries.any(-1, keepdims=True), entries, true)
    turns, true_turns = (orientation(each.reshape(-1, ENTRIES), CROSS) for each in (known, true))
    changes = np.asarray(entries - true, np.float32)
    vectors = Rotation.from_matrix(turns @ true_turns.swapaxes(1, 2)).as_rotvec()
    changes[..., :3], changes[..., 3:6] = vectors.reshape(*true.shape[:-1], 3), 0
    return changes


def changed(true: FloatArray, changes: FloatArray) -> FloatArray:
    """True entries (…, E) with changes."""
    entries, vectors = true + changes, changes[..., :3].reshape(-1, 3)
    turns = Rotation.from_rotvec(vectors).as_matrix() @ orientation(true.reshape(-1, ENTRIES), CROSS)
    entries[..., :6] = turns[..., :2].swapaxes(-1, -2).reshape(*true.shape[:-1], 6) / ROTATION_SCALE
    return np.asarray(np.clip(entries, -5, 5), np.float32)


def true_entries(moving: Moving, boxes: Boxes) -> FloatArray:
    """(B, T, E) in the crops; the distance is the one that these show (`sender.perception.crop.to_frame`)."""
    turn, side = boxes.turn(moving), boxes.side / moving.focal[:, None]
    oriented = (turn.swapaxes(-1, -2) @ moving.turn)[..., :2].swapaxes(-1, -2).reshape(*side.shape, 6) / ROTATION_SCALE
    pelvis = (moving.pelvis[..., None, :] @ turn)[..., 0, :]
    pelvis[..., 2] *= turn[..., 2, 2] ** 1.5
    placed = entries_of_pelvis(pelvis.reshape(-1, 3), 1 / side.reshape(-1, 1)).reshape(*side.shape, 3)
    return np.concatenate([oriented, placed, moving.body], -1).astype(np.float32)


def imagined(count: int, motions: Motions, clips: RecordedClips, rng: np.random.Generator) -> RecordedClips:
    """About `count` clips, with the errors of recorded ones."""
    near, far = (
        clips.at(rng.integers(len(clips), size=number))
        for number in (round(_NEARBY * count), count - round(_NEARBY * count))
    )
    near, refiner = replace(near, moving=motions.nearby(near.moving, rng)), Refiner(motions.kinematics)
    both = refitted(near, refiner, rng), refitted(transplanted(far, motions, rng), refiner, rng)
    made: RecordedClips = _joined([each.at(np.flatnonzero(each.seen.sum(1) >= _LEAST_SEEN)) for each in both])
    return made


def transplanted(clips: RecordedClips, motions: Motions, rng: np.random.Generator) -> RecordedClips:
    """Other motions with the errors of clips; keypoints outside of the picture, here or there, are anywhere."""
    moving, errors = motions.draw(len(clips), clips.seen.shape[1], rng), clips.errors
    known = moving.inside & clips.moving.inside & clips.seen[..., None]
    anywhere = rng.normal(0, _NOWHERE, errors.offset.shape).astype(np.float32)
    errors = replace(
        errors,
        offset=np.where(known[..., None], errors.offset, anywhere),
        sigma=np.where(known, errors.sigma, np.float32(_NOWHERE)),
        visible=np.where(known, errors.visible, np.float32(_HARDLY)),
    )
    return RecordedClips(moving, crops(moving, rng), errors, clips.seen)


def refitted(clips: RecordedClips, refiner: Refiner, rng: np.random.Generator) -> RecordedClips:
    """Clips whose bodies are fitted to what is seen of them."""
    moving, boxes, errors = clips.moving, clips.boxes, clips.errors
    true, focal = true_entries(moving, boxes), np.asarray(moving.focal[:, None] / boxes.side, np.float32)
    more = rng.uniform(*_MORE, (len(clips), 1, 1)).astype(np.float32)
    predicted, fitted = changed(true, more * errors.fitted), np.zeros_like(true)
    joints = moving.keypoints @ boxes.turn(moving) + errors.joints_3d
    seen = (boxes.places(moving.places) + errors.offset, errors.sigma, errors.visible)
    for row, found in enumerate(clips.seen):
        targets = Targets.of(*(each[row] for each in (*seen, joints, errors.joints_log_variance, focal)))
        fitted[row] = refiner.refine(predicted[row], np.exp(errors.log_sigma[row]), targets) * found[:, None]
    bodies = fitted, *smoothed(moving, boxes, moving.focal, fitted, errors.view, clips.seen)
    names = "fitted", "smoothed", "smoothed_later"
    own = {name: change(each, true) for name, each in zip(names, bodies, strict=True)}
    return replace(clips, errors=replace(errors, **own))


def _joined(parts: Sequence[Any]) -> Any:
    """Dataclasses of arrays, one after the other."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return type(parts[0])(*(_joined([getattr(part, item.name) for part in parts]) for item in fields(parts[0])))


def crops(moving: Moving, rng: np.random.Generator) -> Boxes:
    """Around what is in the picture, not quite."""
    half, inside = 0.5 * moving.size[:, None, None], moving.inside[..., None]
    within = np.clip(moving.places, -half, half)
    any_inside = inside.any(2, keepdims=True)
    low = np.where(inside | ~any_inside, within, np.inf).min(2)
    high = np.where(inside | ~any_inside, within, -np.inf).max(2)
    count, frames = moving.time_s.shape
    margin = rng.uniform(1.2, 1.75, (count, 1)) * np.exp(0.04 * along(moving.time_s, 0.3, (), rng))
    whole = np.clip(np.ptp(moving.places, 2).max(-1), _LEAST_SIDE, 3.0)
    side = margin * np.maximum((high - low).max(-1), _LEAST_SHARE * whole)
    wander = rng.normal(0, 0.02, (count, 1, 2)) + 0.015 * along(moving.time_s, 0.3, (2,), rng)
    roll = rng.normal(0, 0.5, (count, 1)) * (rng.random((count, 1)) < 0.1)
    centre = (low + high) / 2 + side[..., None] * wander
    return Boxes(centre.astype(np.float32), side.astype(np.float32), roll.repeat(frames, 1).astype(np.float32))


def along(time_s: Float64Array, lasting_s: float, size: tuple[int, ...], rng: np.random.Generator) -> Float64Array:
    """(B, T, *size) of unit variance, whose correlation falls to 1/e in so many seconds."""
    values = rng.normal(0, 1, (*time_s.shape, *size))
    kept = np.exp(-np.diff(time_s) / lasting_s).reshape(*time_s.shape[:1], -1, *(1 for _ in size))
    for frame in range(1, time_s.shape[1]):
        own = kept[:, frame - 1]
        values[:, frame] = own * values[:, frame - 1] + np.sqrt(1 - own**2) * values[:, frame]
    return values


def observed(
    clips: RecordedClips, rng: np.random.Generator, *, causal: bool, varied: bool
) -> tuple[Observations, FloatArray]:
    """What is seen of windows, and the focal length (B,) that is assumed, in widths of the picture.

    Half of the cameras' are known.

    Args:
        causal: whether later frames did not help to smooth those before them.
        varied: whether errors are lessened, by a share of each window's own.
    """
    moving, boxes, errors, count = clips.moving, clips.boxes, clips.errors, len(clips)
    wrong = rng.uniform(-_WRONG_FOCAL, _WRONG_FOCAL, count) * (rng.random(count) < 0.5)
    focal = np.asarray(moving.focal * np.exp(wrong), np.float32)
    if varied:
        errors = errors.lessened(rng.uniform(_LEAST_ERRORS, 1, count).astype(np.float32))
    duration = rng.uniform(*_LOST_S, (count, 1)) * (rng.random((count, 1)) < _LOST_SHARE)
    begin = rng.uniform(0, 1, (count, 1)) * moving.time_s[:, -1:]
    kept = (moving.time_s < begin) | (moving.time_s > begin + duration)
    seen = clips.seen & (moving.inside.sum(-1) >= _LEAST_INSIDE) & kept
    seen[~seen.any(1), 0] = True
    true, joints = true_entries(moving, boxes), moving.keypoints @ boxes.turn(moving)
    # The last frame in which the person is seen, else the first one.
    last = np.maximum.accumulate(np.where(seen, np.arange(seen.shape[1]), -1), 1)
    at = np.arange(count)[:, None], np.where(last < 0, seen.argmax(1)[:, None], last)
    # A clip is not to be known by how certain the networks are of it.
    less, of_logs = (rng.normal(0, _UNSURE, (count, 1, size)).astype(np.float32) for size in (KEYPOINTS, ENTRIES))
    return Observations(
        time_s=moving.time_s,
        centre=(boxes.centre / focal[:, None, None])[at],
        side=(boxes.side / focal[:, None])[at],
        roll=boxes.roll[at],
        seen=seen,
        view=errors.view,
        keypoints=boxes.places(moving.places) + errors.offset,
        sigma=errors.sigma * np.exp(less),
        visible=errors.visible,
        entries=changed(true, errors.fitted)[at],
        log_sigma=errors.log_sigma + of_logs,
        smoothed=changed(true, errors.smoothed if causal else errors.smoothed_later)[at],
        joints_3d=joints + errors.joints_3d,
        joints_log_variance=errors.joints_log_variance,
        joint_depth=joints[..., 2] + errors.joint_depth,
        depth_log_variance=errors.depth_log_variance,
    ), focal
