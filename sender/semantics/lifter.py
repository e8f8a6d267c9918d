"""Lifts people over time: what is remembered of their last frames, and what the lifting network makes of it.

A frame in which somebody was not found is remembered, too: they may be behind something, and go on moving.  All windows
have as many frames, so that the network is one graph; those that a window lacks are masked.

Shapes: B people, T frames, F columns of a token, E = 80 entries, K = 17 keypoints; times are seconds on the source's
clock.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Final, Self

import numpy as np
import torch
from torch import Tensor, nn

from common.arrays import Float64Array, FloatArray
from common.frames import Camera
from common.weights.devices import CPU, to_numpy
from common.weights.inference import NetworkInUse, in_use
from common.weights.loader import load_recorded
from common.weights.manifest import find_entry
from sender.perception.crop import View
from sender.perception.track import ObservedPerson, TrackedPerson
from sender.semantics.bodies import ENTRIES, KeypointJacobian, placed, together
from sender.semantics.lifting_network import (
    KIND,
    NAME,
    LiftingConfig,
    LiftingNetwork,
    Observations,
    WindowCamera,
    crop_in_focal_lengths,
    keypoints_of,
    lags_of,
    mean_crop,
    smoothed_entries,
    tokens,
)
from sender.semantics.refine import FittedEntries, Refiner

LONGEST_S: Final = 1.1
"""From the frame that is estimated to the farthest one of its window."""
# What a window of all frames that it has room for covers at least; of a faster source, it takes every third frame,
# fifth, and so on: perception sees people from both views by turns, and so does the window.
_LEAST_S: Final = 0.45
# Twice the longest window: a clip's frames are estimated when later ones are known.
_KEPT_S: Final = 2 * LONGEST_S
_VIEWS: Final[dict[View, float]] = {"plain": 0.0, "mirrored": 1.0, "both": 0.5}


@dataclass(frozen=True, slots=True)
class Window:
    """Frames of one person, oldest first, and the place of the one that is estimated."""

    frames: Sequence[Observations]
    anchor: int

    def filled(self, length: int) -> list[Observations]:
        """As many frames; the ones that it lacks are at the end, and show nobody."""
        last = self.frames[-1]
        return [*self.frames, *[unseen(last, float(last.time_s))] * (length - len(self.frames))]


class RecentFrames:
    """The last frames of each person, oldest first; the first one shows them."""

    def __init__(self) -> None:
        self._people: dict[TrackedPerson, list[Observations]] = {}
        self._now_s = -math.inf

    def add(self, found: Mapping[TrackedPerson, Observations], time_s: float) -> None:
        """Takes the next frame: what it tells of the people found in it.

        Args:
            time_s: of the frame; where it does not advance, the earlier ones belong to something else.
        """
        if not time_s > self._now_s:
            self._people.clear()
        self._now_s = time_s
        for person, frames in list(self._people.items()):
            del frames[: sum(frame.time_s < time_s - _KEPT_S for frame in frames)]
            if not any(frame.seen for frame in frames):
                del self._people[person]
            elif person not in found:
                frames.append(unseen(frames[-1], time_s))
        for person, frame in found.items():
            self._people.setdefault(person, []).append(frame)

    def window(self, person: TrackedPerson, anchor_s: float, length: int, smoothed: FloatArray | None = None) -> Window:
        """At most so many frames of a person around the one of a time, which has these smoothed entries (E,) if given:
        of those after it, half as many at most."""
        frames = self._people[person]
        times = [float(frame.time_s) for frame in frames]
        anchor, stride = times.index(anchor_s), 1
        if len(times) > 1:
            # The least odd one with which so many steps cover `_LEAST_S`.
            covered_s = (length - 1) * (times[-1] - times[0]) / (len(times) - 1)
            stride = 1 + 2 * math.ceil(max(_LEAST_S / covered_s - 1, 0) / 2)
        rows = [row for row in range(anchor % stride, len(times), stride) if abs(times[row] - anchor_s) <= LONGEST_S]
        place = rows.index(anchor)
        end = min(len(rows), place + 1 + length // 2)
        first = max(0, end - length)
        chosen, place = [frames[row] for row in rows[first:end]], place - first
        if smoothed is not None:
            chosen[place] = replace(chosen[place], smoothed=smoothed)
        return Window(chosen, place)


def unseen(frame: Observations, time_s: float) -> Observations:
    """A frame like another one, in which nobody is found."""
    nothing = np.zeros((), bool)
    return replace(frame, time_s=np.array(time_s), seen=nothing)


def observations(
    people: Sequence[ObservedPerson], fitted: FittedEntries, smoothed: FloatArray, camera: Camera, time_s: float
) -> list[Observations]:
    """One frame of each of B ≥ 1 people, what is fitted to it, and that smoothed (B, E), in their crops."""
    boxes, output = [crop_in_focal_lengths(person.crop, camera) for person in people], together(people)
    window = Observations(
        time_s=np.full(len(people), time_s),
        centre=np.stack([centre for centre, _ in boxes]),
        side=np.array([side for _, side in boxes], np.float32),
        roll=np.array([person.crop.roll for person in people], np.float32),
        seen=np.ones(len(people), bool),
        view=np.array([_VIEWS[person.view] for person in people], np.float32),
        keypoints=to_numpy(output.keypoints_2d),
        sigma=to_numpy(output.keypoints_sigma),
        visible=to_numpy(output.visible_logit.sigmoid()),
        entries=fitted.refined,
        log_sigma=np.log(fitted.sigma),
        smoothed=smoothed,
        joints_3d=to_numpy(output.joints_3d),
        joints_log_variance=to_numpy(output.joints_log_variance),
        joint_depth=to_numpy(output.joint_depth),
        depth_log_variance=to_numpy(output.depth_log_variance.flatten()),
    )
    return window.split()


FRAMES: Final = 8
"""T; with twice as many, joints are as exact, for half as much time again."""
# Of corrections: root mean square over the entries at which half is carried, and how sharply.  Small ones, learned from
# rendered people, move real ones off by as much as they help; large ones right those who were fitted wrongly.
_DOUBTED, _SHARPNESS = 0.4, 8
# How sharply the body counts that is nearer to the keypoints; by how much of a keypoint's deviation from them at most.
_NEARER, _FARTHEST = 4, 5.0
# Least standard deviation of a keypoint, crop widths.
_PIXEL_FLOOR = 0.02
_TINY, _MOST_RATIO = 1e-3, 1e3
# Added to attention where a frame is missing.
_MASKED: Final = -1e4


class OneFrame(nn.Module):
    """The lifting network, which says what it does of one frame of each window."""

    def __init__(self, network: LiftingNetwork) -> None:
        super().__init__()
        self.network = network

    @classmethod
    def example(cls) -> tuple[Tensor, ...]:
        """Inputs of one window."""
        anchor = torch.zeros(1, FRAMES)
        anchor[:, -1] = 1
        square = torch.ones(1, FRAMES, FRAMES)
        return torch.zeros(1, FRAMES, LiftingConfig().tokens), 0 * square, square, anchor

    def forward(self, tokens: Tensor, lags: Tensor, sees: Tensor, anchor: Tensor) -> tuple[Tensor, ...]:
        """Entries (B, E).

        Args:
            tokens, lags: (B, T, F) and (B, T, T), as of `LiftingNetwork`.
            sees: (B, T, T) 1 where a frame sees another one, else 0.
            anchor: (B, T) 1 for the frame that is estimated, 0 for the others.
        """
        mask = ((1 - sees) * _MASKED)[:, None]
        context = self.network.context(tokens, lags, mask)
        # OpenVINO does not compile layers of a single row without a second axis.
        rows = (context, smoothed_entries(tokens))
        context, smoothed = ((anchor[..., None] * each).sum(1, keepdim=True) for each in rows)
        entries, _ = self.network.decode(context, smoothed, self.network.prior(context).mean)
        return (entries[:, 0],)


class Lifter:
    """Estimates bodies.

    Args:
        network: `OneFrame` in use.
        kinematics: of the body, by arrays.
    """

    def __init__(self, network: NetworkInUse, kinematics: KeypointJacobian) -> None:
        self._network, self._refiner = network, Refiner(kinematics)

    @classmethod
    def load(cls, device: torch.device = CPU) -> Self:
        """With the shipped weights; raises WeightsError where they are missing, damaged or of another version."""
        network = OneFrame(load_recorded(NAME, KIND, LiftingConfig, LiftingNetwork))
        kinematics = KeypointJacobian.load()
        return cls(in_use(network, OneFrame.example(), NAME, find_entry(NAME).precision, device), kinematics)

    def lifted(self, windows: Sequence[Window], camera: Camera) -> tuple[FloatArray, FloatArray]:
        """Label entries (B, E) in the frame's camera space and keypoints (B, K, 2), pixels, of the bodies.

        Args:
            windows: B ≥ 1 of at most T frames.
            camera: of the frame that is estimated.
        """
        frames = Observations.joined([frame for window in windows for frame in window.filled(FRAMES)])
        columns = (getattr(frames, item.name) for item in fields(frames))
        joined = Observations(*(each.reshape(len(windows), FRAMES, *each.shape[1:]) for each in columns))
        places, rows = np.array([window.anchor for window in windows]), np.arange(FRAMES)
        centre, side = mean_crop(joined, joined.seen)
        own = WindowCamera.through(centre, side)
        lags = lags_of(torch.from_numpy(joined.time_s))
        # Frames see those up to their own, where the anchor is the last one, as in the training.
        present = rows < np.array([[len(window.frames)] for window in windows])
        causal = np.array([window.anchor == len(window.frames) - 1 for window in windows])
        sees = present[:, None] & (~causal[:, None, None] | np.tri(FRAMES, dtype=bool)) | np.eye(FRAMES, dtype=bool)
        seen, anchor = tokens(joined, own, side), rows == places[:, None]
        inputs = (torch.as_tensor(each, dtype=torch.float32) for each in (seen, lags, sees, anchor))
        (entries,) = map(to_numpy, self._network(*inputs))
        lifted = self._carried(entries, seen[anchor], own)
        turn, pelvis = own.in_frame(lifted)
        points = self._refiner.keypoints.keypoints(lifted) @ own.rotation.swapaxes(1, 2) + pelvis[:, None]
        return placed(lifted, turn, pelvis), np.stack([camera.project(each) for each in points])

    def _carried(self, lifted: FloatArray, seen: FloatArray, camera: WindowCamera) -> FloatArray:
        """(B, E) smoothed entries of tokens (B, F), or those lifted where these differ much and are nearer to the
        keypoints."""
        smoothed = smoothed_entries(seen)
        size = np.sqrt(np.square(lifted - smoothed).mean(1, dtype=np.float64)) / _DOUBTED
        of_smoothed, of_lifted = self._misfits(np.stack([smoothed, lifted]), seen, camera)
        nearer = of_smoothed / np.maximum(of_lifted, _TINY)
        share = _above_one(size, _SHARPNESS) * _above_one(nearer, _NEARER)
        return np.asarray(smoothed + share[:, None] * (lifted - smoothed), np.float32)

    def _misfits(self, entries: FloatArray, seen: FloatArray, camera: WindowCamera) -> Float64Array:
        """(2, B) mean squared distance of the keypoints of bodies (2, B, E) from those seen, in variances; each of them
        at most `_FARTHEST`²."""
        found, sigma, visible = keypoints_of(seen)
        focal = np.tile(camera.focal, len(entries))[:, None, None]
        apart = self._refiner.projected(entries.reshape(-1, ENTRIES), focal).reshape(len(entries), *found.shape) - found
        squared = np.square(apart).sum(-1) / (np.square(sigma) + _PIXEL_FLOOR**2)
        weighed = (visible * np.minimum(squared, _FARTHEST**2)).sum(-1)
        return np.asarray(weighed / np.maximum(visible.sum(1), _TINY), np.float64)


def _above_one(ratios: Float64Array, sharpness: int) -> Float64Array:
    """From 0 of ratios far below 1 to 1 of those far above."""
    powers = np.minimum(ratios, _MOST_RATIO) ** sharpness
    return np.asarray(powers / (1 + powers))
