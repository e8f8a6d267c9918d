"""Rendered clips whose truth is known, with what networks saw of them: windows of them, and their errors.

A clip is a file of 64 frames (`sender.train.lifting.clips`).  Windows of clips are fed as they are; the errors of
others are transplanted onto motions.

Shapes: N clips, L frames of a clip, B windows, T frames, K = 17 keypoints, E = 80 entries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from common.arrays import BoolArray, Float64Array, FloatArray, IntArray
from common.body.label_space import LabelSpace
from common.frames import Camera
from common.labels import LABEL_SIZE
from sender.perception.crop import CropBox
from sender.perception.views import View
from sender.semantics.bodies import entries_in_crops, entries_in_frame
from sender.semantics.crop_labels import ENTRIES
from sender.semantics.lifting.window import crop_rotation
from sender.semantics.over_time.smoothing import Filtered, LabelSmoother
from sender.train.lifting.mirrored import mirrored
from sender.train.lifting.motions import Moving
from sender.train.lifting.observed import BodyErrors, Boxes, Errors, in_crop_cameras, in_crops

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
