"""What perception says of moving people: as recorded, or with imagined errors.

Shapes: B windows, T frames, K = 17 keypoints, E = 80 entries.

Rendered clips whose truth is known, with what networks saw of them: windows of them, and their errors.

A clip is a file of 64 frames (`sender.train.lifting.clips`).  Windows of clips are fed as they are; the errors of
others are transplanted onto motions.

Shapes: N clips, L frames of a clip, B windows, T frames, K = 17 keypoints, E = 80 entries.

Clips that nobody renders: people who move before cameras, what perception would see, and what is fitted to it.

Perception's errors are those of a rendered clip (`RecordedClips`), transplanted onto another motion, or
onto nearly the same one.  Bodies are fitted to the keypoints as the sender fits them: what is off then is what pictures
do not show.  (Without, they contradict their keypoints; who learned from such was 8 mm worse on real people.)

Shapes: B clips, L frames of each, K = 17 keypoints, E = 80 entries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from scipy.spatial.transform import Rotation
from scipy.special import logit

from common.arrays import BoolArray, Float64Array, FloatArray, IntArray
from common.body.label_space import LabelSpace
from common.frames import Camera
from common.labels import LABEL_SIZE, ROTATION_SCALE
from sender.perception.crop import CropBox, View, crop_rotation
from sender.perception.heads import KEYPOINTS
from sender.semantics.bodies import CROSS, ENTRIES, entries_in_crops, entries_in_frame, entries_of_pelvis, orientation
from sender.semantics.lifting_network import Observations, rolled
from sender.semantics.refine import Refiner, Targets
from sender.semantics.smoothing import Filtered, LabelSmoother
from sender.train.lifting.motions import Motions, Moving, mirrored

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


@dataclass(frozen=True, slots=True)
class Boxes:
    """Crops: `centre` (B, T, 2) from the principal point and `side` (B, T), widths of the picture; `roll` (B, T)."""

    centre: FloatArray
    side: FloatArray
    roll: FloatArray


@dataclass(frozen=True, slots=True)
class BodyErrors:
    """Rotations (B, T, 3, 3) of the root in the crop's axes, and errors (B, T, E) of the other entries."""

    turn: FloatArray
    entries: FloatArray

    @classmethod
    def of(cls, entries: FloatArray, true: FloatArray) -> Self:
        """Of entries (B, T, E)."""
        turns, true_turns = (orientation(each.reshape(-1, ENTRIES), CROSS) for each in (entries, true))
        turn = (turns @ true_turns.swapaxes(1, 2)).reshape(*true.shape[:2], 3, 3)
        # Of whom nothing is fitted.
        turn[~entries.any(-1)] = np.eye(3)
        return cls(turn, entries - true)

    def added_to(self, true: FloatArray) -> FloatArray:
        """Entries (B, T, E) with the errors."""
        entries = true + self.entries
        turned = self.turn @ orientation(true.reshape(-1, ENTRIES), CROSS).reshape(*true.shape[:2], 3, 3)
        entries[..., :6] = turned[..., :2].swapaxes(-1, -2).reshape(*true.shape[:2], 6) / ROTATION_SCALE
        return np.asarray(np.clip(entries, -5, 5), np.float32)

    def lessened(self, share: FloatArray) -> Self:
        """So much of them: `share` (B,)."""
        vectors = Rotation.from_matrix(self.turn.reshape(-1, 3, 3)).as_rotvec().reshape(*self.turn.shape[:2], 3)
        turn = Rotation.from_rotvec((share[:, None, None] * vectors).reshape(-1, 3)).as_matrix()
        return type(self)(turn.reshape(self.turn.shape).astype(np.float32), share[:, None, None] * self.entries)

    def at(self, rows: tuple[IntArray, IntArray]) -> Self:
        return type(self)(self.turn[rows], self.entries[rows])


@dataclass(frozen=True, slots=True)
class Errors:
    """Of what is seen and fitted.

    Args:
        view: (B, T) as in `Observations`.
        offset, sigma, visible: of keypoints (B, T, K, 2) and (B, T, K), crop widths, and probabilities.
        fitted, smoothed: of bodies fitted to each frame, and of these smoothed over time.
        log_sigma: (B, T, E) the logs of σ of what is fitted.
        joints_3d, joints_log_variance: (B, T, K, 3) metres, and (B, T, K).
        joint_depth, depth_log_variance: (B, T, K) metres, and (B, T).
    """

    view: FloatArray
    offset: FloatArray
    sigma: FloatArray
    visible: FloatArray
    fitted: BodyErrors
    smoothed: BodyErrors
    log_sigma: FloatArray
    joints_3d: FloatArray
    joints_log_variance: FloatArray
    joint_depth: FloatArray
    depth_log_variance: FloatArray

    def at(self, rows: tuple[IntArray, IntArray]) -> Self:
        parts: list[Any] = [getattr(self, name) for name in self.__slots__]
        chosen: list[Any] = [part.at(rows) if isinstance(part, BodyErrors) else part[rows] for part in parts]
        return type(self)(*chosen)

    def lessened(self, share: FloatArray) -> Self:
        """With so much of what is off: `share` (B,)."""
        each, every = share[:, None, None], share[:, None, None, None]
        return replace(
            self,
            offset=every * self.offset,
            fitted=self.fitted.lessened(share),
            smoothed=self.smoothed.lessened(share),
            joints_3d=every * self.joints_3d,
            joint_depth=each * self.joint_depth,
        )


def assumed_focal(moving: Moving, rng: np.random.Generator) -> FloatArray:
    """(B,) the focal length that is assumed, in widths of the picture: half of the cameras' are known."""
    wrong = rng.uniform(-_WRONG_FOCAL, _WRONG_FOCAL, len(moving.focal)) * (rng.random(len(moving.focal)) < 0.5)
    return np.asarray(moving.focal * np.exp(wrong), np.float32)


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


def in_crops(points: FloatArray, boxes: Boxes) -> FloatArray:
    """(B, T, K, 2) in the picture → crop units."""
    turned = rolled(points - boxes.centre[:, :, None], -boxes.roll)
    return np.asarray(turned / boxes.side[..., None, None] + 0.5, np.float32)


def observe(
    moving: Moving,
    boxes: Boxes,
    focal: FloatArray,
    errors: Errors,
    seen: BoolArray,
    rng: np.random.Generator,
) -> Observations:
    """What is seen in crops, of those who look with a focal length (B,) that they assume.

    Args:
        seen: (B, T) whether the person was found; some are lost on top.
    """
    centre, side, roll = boxes.centre, boxes.side, boxes.roll
    seen = seen & (moving.inside.sum(-1) >= _LEAST_INSIDE) & found(moving.time_s, rng)
    seen[~seen.any(1), 0] = True
    true_centre, true_side = centre / moving.focal[:, None, None], side / moving.focal[:, None]
    turn = crop_rotation(true_centre, roll)
    true = in_crop_cameras(moving, turn, true_side)
    joints = moving.keypoints @ turn
    depth = joints[..., 2] + errors.joint_depth
    rows, last = np.arange(len(seen))[:, None], nearest(seen)
    # A clip is not to be known by how certain the networks are of it.
    less, of_logs = (rng.normal(0, _UNSURE, (len(seen), 1, size)).astype(np.float32) for size in (KEYPOINTS, ENTRIES))
    return Observations(
        time_s=moving.time_s,
        centre=(centre / focal[:, None, None])[rows, last],
        side=(side / focal[:, None])[rows, last],
        roll=roll[rows, last],
        seen=seen,
        view=errors.view,
        keypoints=in_crops(moving.places, boxes) + errors.offset,
        sigma=errors.sigma * np.exp(less),
        visible=errors.visible,
        entries=errors.fitted.added_to(true)[rows, last],
        log_sigma=errors.log_sigma + of_logs,
        smoothed=errors.smoothed.added_to(true)[rows, last],
        joints_3d=joints + errors.joints_3d,
        joints_log_variance=errors.joints_log_variance,
        joint_depth=depth,
        depth_log_variance=errors.depth_log_variance,
    )


def lessened(errors: Errors, rng: np.random.Generator) -> Errors:
    """Some of the errors of each window."""
    return errors.lessened(rng.uniform(_LEAST_ERRORS, 1, len(errors.view)).astype(np.float32))


def in_crop_cameras(moving: Moving, turn: FloatArray, side: FloatArray) -> FloatArray:
    """(B, T, E) true entries in crops, whose axes are turned by (B, T, 3, 3) to the camera's, of `side` (B, T) focal
    lengths; the distance is the one that the crop shows (`sender.perception.crop.to_frame`)."""
    shape = side.shape
    oriented = (turn.swapaxes(-1, -2) @ moving.turn)[..., :2].swapaxes(-1, -2).reshape(*shape, 6) / ROTATION_SCALE
    pelvis = (moving.pelvis[..., None, :] @ turn)[..., 0, :]
    pelvis[..., 2] *= turn[..., 2, 2] ** 1.5
    placed = entries_of_pelvis(pelvis.reshape(-1, 3), 1 / side.reshape(-1, 1)).reshape(*shape, 3)
    return np.concatenate([oriented, placed, moving.body], -1).astype(np.float32)


def found(time_s: Float64Array, rng: np.random.Generator) -> BoolArray:
    """(B, T) false where the person is lost: in some windows, for up to a second."""
    count = len(time_s)
    duration = rng.uniform(*_LOST_S, (count, 1)) * (rng.random((count, 1)) < _LOST_SHARE)
    begin = rng.uniform(0, 1, (count, 1)) * time_s[:, -1:]
    return np.asarray((time_s < begin) | (time_s > begin + duration))


def nearest(seen: BoolArray) -> Float64Array:
    """(B, T) the last frame that is seen, else the first one that is."""
    frames = np.arange(seen.shape[1])
    last = np.maximum.accumulate(np.where(seen, frames, -1), 1)
    return np.where(last < 0, seen.argmax(1)[:, None], last)


def along(time_s: Float64Array, lasting_s: float, size: tuple[int, ...], rng: np.random.Generator) -> Float64Array:
    """(B, T, *size) of unit variance, whose correlation falls to 1/e in so many seconds."""
    values = rng.normal(0, 1, (*time_s.shape, *size))
    kept = np.exp(-np.diff(time_s) / lasting_s).reshape(*time_s.shape[:1], -1, *(1 for _ in size))
    for frame in range(1, time_s.shape[1]):
        own = kept[:, frame - 1]
        values[:, frame] = own * values[:, frame - 1] + np.sqrt(1 - own**2) * values[:, frame]
    return values


# Largest error of a keypoint that is fed, crop widths; σ and probability of those that no clip shows.
_FARTHEST, _NOWHERE, _HARDLY = 0.3, 0.1, 0.1
_FPS = 30
# As clips number them → as windows do, and as smoothing names these.
_VIEWS = np.array([0, 1, 0.5], np.float32)
_NAMES: dict[float, View] = {0.0: "plain", 1.0: "mirrored", 0.5: "both"}


class RecordedClips:
    """Clips: their arrays (`sender.train.lifting.clips`), `smoothed`."""

    def __init__(self, clips: Sequence[Mapping[str, Any]]) -> None:
        self._arrays = {name: np.stack([clip[name] for clip in clips]) for name in clips[0]}
        self._moving = Moving(**{item.name: self._arrays[item.name] for item in fields(Moving)})
        self._boxes = _boxes(self._arrays)
        self._seen = self._arrays["seen"].astype(bool)
        self._inside = self._moving.inside & self._seen[..., None]
        focal = self._moving.focal[:, None]
        self._turn = crop_rotation(self._boxes.centre / focal[..., None], self._boxes.roll)
        self._errors = {causal: self._wrong(causal=causal) for causal in (False, True)}

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The clips of a folder, their mirror images, and both backwards.

        Raises:
            FileNotFoundError: there are none.
        """
        files = sorted(folder.glob("*.npz"))
        if not files:
            raise FileNotFoundError(f"no clips in {folder}")
        space, clips = LabelSpace.load(), [_loaded(file) for file in files]
        clips += [mirrored(clip, space) for clip in clips]
        return cls([smoothed(clip) for clip in (*clips, *map(backwards, clips))])

    def __len__(self) -> int:
        return len(self._seen)

    def draw(
        self, count: int, frames: int, rng: np.random.Generator, fps: float | None = None, *, causal: bool
    ) -> tuple[Moving, Boxes, Errors, BoolArray]:
        """`count` windows of as many frames: the truth, crops, errors, and (B, T) whether the person was seen.

        Args:
            causal: whether later frames did not help to smooth those before them.
        """
        length = self._seen.shape[1]
        clip = rng.integers(len(self), size=count)
        step = np.ones(count, int) if fps else rng.choice([1, 1, 1, 2, 2, 3], count)
        step = np.minimum(step, max(1, (length - 1) // max(frames - 1, 1)))
        span = step * (frames - 1) + 1
        rows = (rng.random(count) * (length - span + 1)).astype(int)[:, None] + step[:, None] * np.arange(frames)
        at = (clip[:, None], rows)
        moving = Moving(
            self._moving.time_s[clip[:, None], rows],
            *(getattr(self._moving, name)[at] for name in _OF_FRAMES),
            *(getattr(self._moving, name)[clip] for name in ("size", "focal", "still")),
        )
        boxes = Boxes(*(each[at] for each in (self._boxes.centre, self._boxes.side, self._boxes.roll)))
        return moving, boxes, self._errors[causal].at(at), self._seen[at]

    def errors(
        self, inside: BoolArray, time_s: Float64Array, rng: np.random.Generator, *, causal: bool
    ) -> tuple[Errors, BoolArray]:
        """Of windows whose frames are at `time_s` (B, T): errors of clips, and (B, T) whether the person was seen.

        Args:
            inside: (B, T, K) whether keypoints are in the picture; the others, and those that were outside in the clip,
                are anywhere.
            causal: as of `draw`.
        """
        count, length = len(time_s), self._seen.shape[1]
        clip, played = rng.integers(len(self), size=count), np.rint(time_s * _FPS).astype(int)
        spare = np.maximum(length - played[:, -1:], 1)
        at = (clip[:, None], np.minimum((rng.random((count, 1)) * spare).astype(int) + played, length - 1))
        found, known = self._errors[causal].at(at), inside & self._inside[at]
        anywhere = rng.normal(0, _NOWHERE, found.offset.shape).astype(np.float32)
        errors = replace(
            found,
            offset=np.where(known[..., None], found.offset, anywhere),
            sigma=np.where(known, found.sigma, np.float32(_NOWHERE)),
            visible=np.where(known, found.visible, np.float32(_HARDLY)),
        )
        return errors, self._seen[at]

    def _wrong(self, *, causal: bool) -> Errors:
        """The errors of all frames, (N, L, …)."""
        true = in_crop_cameras(self._moving, self._turn, self._boxes.side / self._moving.focal[:, None])
        joints, clips = self._moving.keypoints @ self._turn, self._arrays
        offset = clips["keypoints_2d"] - in_crops(self._moving.places, self._boxes)
        return Errors(
            clips["view"],
            np.clip(offset, -_FARTHEST, _FARTHEST),
            clips["keypoints_sigma"],
            1 / (1 + np.exp(-clips["visible_logit"])),
            BodyErrors.of(clips["entries"], true),
            BodyErrors.of(clips["smoothed" if causal else "smoothed_later"], true),
            clips["log_sigma"],
            clips["joints_3d"] - joints,
            clips["joints_log_variance"],
            clips["joint_depth"] - joints[..., 2],
            clips["depth_log_variance"],
        )


_OF_FRAMES = ("turn", "pelvis", "keypoints", "body", "contacts", "up")


def _loaded(file: Path) -> dict[str, Any]:
    with np.load(file, allow_pickle=False) as arrays:
        clip = {name: np.asarray(arrays[name]) for name in sorted(set(arrays.files) - {"summary"})}
    return {**clip, "view": _VIEWS[clip["view"]]}


def backwards(clip: Mapping[str, Any]) -> dict[str, Any]:
    """A clip's arrays, as if it had been played from its end."""
    of_frames = {name: values[::-1] for name, values in clip.items() if np.shape(values)[:1] == clip["time_s"].shape}
    return {**clip, **of_frames, "time_s": clip["time_s"]}


def smoothed(clip: Mapping[str, Any]) -> dict[str, Any]:
    """A clip's arrays with the fitted entries smoothed (L, E), in the crops: `smoothed` by earlier frames,
    `smoothed_later` by later ones, too; 0 where nobody was seen."""
    seen = np.flatnonzero(clip["seen"])
    times = clip["time_s"][seen].tolist()
    camera = Camera(int(clip["camera"][0]), int(clip["camera"][1]), float(clip["assumed_focal"]))
    crops = [CropBox(int(row[0]), int(row[1]), int(row[2]), float(row[3])) for row in clip["crop"][seen]]
    labels = np.zeros((len(seen), LABEL_SIZE), np.float32)
    labels[:, :ENTRIES] = entries_in_frame(clip["entries"][seen], crops, camera)
    views = [_NAMES[float(view)] for view in clip["view"][seen]]
    # Both ways, as `FixedLagSmoother` does where it knows all that follows; there with half of the gain.
    smoother, forwards, backwards = LabelSmoother(), Filtered(), Filtered()
    own = zip(times, labels, views, strict=True)
    causal = [smoother.smooth(forwards, time_s, row, view) for time_s, row, view in own]
    later = [smoother.smooth(backwards, -time_s, row) for time_s, row in reversed([*zip(times, causal, strict=True)])]
    found = {"smoothed": causal, "smoothed_later": later[::-1]}
    entries = {name: entries_in_crops(np.stack(each)[:, :ENTRIES], crops, camera) for name, each in found.items()}
    return {**clip, **{name: _placed(each, seen, len(clip["time_s"])) for name, each in entries.items()}}


def _placed(entries: FloatArray, rows: IntArray, length: int) -> FloatArray:
    """(L, E) with the entries in their rows, and 0 in the others."""
    placed = np.zeros((length, ENTRIES), np.float32)
    placed[rows] = entries
    return placed


def _boxes(clips: Mapping[str, Any]) -> Boxes:
    left, top, side, roll = np.moveaxis(clips["crop"], -1, 0)
    width, height = clips["camera"][:, :1], clips["camera"][:, 1:2]
    centre = np.stack([left + side / 2 - width / 2, top + side / 2 - height / 2], -1) / width[..., None]
    return Boxes(centre.astype(np.float32), np.maximum(side / width, 0.01).astype(np.float32), roll)


_FRAMES: Final = 64
_SAMPLED_FPS: Final = 30.0
_WIDTH_PX = 1280
# Share of the clips that are nearly a rendered one.
_NEARBY = 0.4
# What is fitted is closer than what was predicted: by how much the errors of fits are enlarged before.
_MORE = (1.0, 2.2)
_SURE = 1e-3
_LEAST_SEEN = 16


def imagined(count: int, motions: Motions, clips: RecordedClips, rng: np.random.Generator) -> RecordedClips:
    """About `count` clips."""
    near, far = round(_NEARBY * count), count - round(_NEARBY * count)
    moving, boxes, errors, seen = clips.draw(near, _FRAMES, rng, _SAMPLED_FPS, causal=True)
    made = _fitted(motions.nearby(moving, rng), boxes, errors, seen, Refiner(motions.kinematics), rng)
    moving = motions.draw(far, _FRAMES, rng, _SAMPLED_FPS)
    of_clips = clips.errors(moving.inside, moving.time_s, rng, causal=True)
    made += _fitted(moving, crops(moving, rng), *of_clips, Refiner(motions.kinematics), rng)
    return RecordedClips([smoothed(clip) for clip in made if clip["seen"].sum() >= _LEAST_SEEN])


def _fitted(
    moving: Moving, boxes: Boxes, errors: Errors, seen: BoolArray, refiner: Refiner, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """The arrays of B clips (`sender.train.lifting.clips`)."""
    side, focal = boxes.side / moving.focal[:, None], moving.focal[:, None, None]
    turn = crop_rotation(boxes.centre / focal, boxes.roll)
    joints, true = moving.keypoints @ turn, in_crop_cameras(moving, turn, side)
    size = _WIDTH_PX * moving.size[:, None]
    corners = _WIDTH_PX * (boxes.centre - boxes.side[..., None] / 2) + size / 2
    arrays = {item.name: getattr(moving, item.name) for item in fields(Moving)} | {
        "camera": np.concatenate([size[:, 0], _WIDTH_PX * moving.focal[:, None]], 1),
        "assumed_focal": _WIDTH_PX * moving.focal,
        "crop": np.concatenate([corners, _WIDTH_PX * boxes.side[..., None], boxes.roll[..., None]], -1),
        "seen": seen,
        "view": errors.view,
        "keypoints_2d": in_crops(moving.places, boxes) + errors.offset,
        "keypoints_sigma": errors.sigma,
        "visible_logit": logit(np.clip(errors.visible, _SURE, 1 - _SURE)),
        "joints_3d": joints + errors.joints_3d,
        "joints_log_variance": errors.joints_log_variance,
        "joint_depth": joints[..., 2] + errors.joint_depth,
        "depth_log_variance": errors.depth_log_variance,
        "log_sigma": errors.log_sigma,
    }
    more = rng.uniform(*_MORE, len(seen)).astype(np.float32)
    predicted = errors.fitted.lessened(more).added_to(true)
    arrays["entries"] = np.stack(
        [_refined(arrays, row, predicted[row], side[row], refiner) for row in range(len(seen))]
    )
    floats = {name: np.asarray(each, np.float32) for name, each in arrays.items() if each.dtype == np.float64}
    kept = arrays | floats | {"time_s": moving.time_s}
    return [{name: each[row] for name, each in kept.items()} for row in range(len(seen))]


def _refined(arrays: dict[str, Any], row: int, predicted: FloatArray, side: FloatArray, refiner: Refiner) -> FloatArray:
    """(L, E) of one clip, from entries that are predicted."""
    targets = Targets.of(
        arrays["keypoints_2d"][row],
        arrays["keypoints_sigma"][row],
        1 / (1 + np.exp(-arrays["visible_logit"][row])),
        arrays["joints_3d"][row],
        arrays["joints_log_variance"][row],
        np.asarray(1 / side, np.float32),
    )
    refined = refiner.refine(predicted.reshape(-1, ENTRIES), np.exp(arrays["log_sigma"][row]), targets)
    return np.asarray(np.where(arrays["seen"][row][:, None], refined, 0), np.float32)
