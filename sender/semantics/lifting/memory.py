"""What is remembered of people's last frames, and the windows that are made of it.

A frame in which somebody was not found is remembered, too: they may be behind something, and go on moving.

Times are seconds on the source's clock.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np

from common.arrays import FloatArray
from common.frames import Camera
from common.weights.devices import to_numpy
from sender.perception.track import ObservedPerson, TrackedPerson
from sender.perception.views import View
from sender.semantics.bodies import together
from sender.semantics.fitting import FittedEntries
from sender.semantics.lifting.window import Observations, crop_in_focal_lengths

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

    def where_smoothed(self, entries: FloatArray) -> Self:
        """With other smoothed entries (E,), in its crop, of the frame that is estimated."""
        frames = list(self.frames)
        frames[self.anchor] = replace(frames[self.anchor], smoothed=entries)
        return replace(self, frames=frames)

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

    def window(self, person: TrackedPerson, anchor_s: float, length: int) -> Window:
        """At most so many frames of a person around the one of a time: of those after it, half as many at most."""
        frames = self._people[person]
        times = [float(frame.time_s) for frame in frames]
        anchor, stride = times.index(anchor_s), _stride(times, length - 1)
        rows = [row for row in range(anchor % stride, len(times), stride) if abs(times[row] - anchor_s) <= LONGEST_S]
        place = rows.index(anchor)
        end = min(len(rows), place + 1 + length // 2)
        first = max(0, end - length)
        return Window([frames[row] for row in rows[first:end]], place - first)


def unseen(frame: Observations, time_s: float) -> Observations:
    """A frame like another one, in which nobody is found."""
    nothing = np.zeros((), bool)
    return replace(frame, time_s=np.array(time_s), seen=nothing)


def _stride(times: Sequence[float], steps: int) -> int:
    """The least odd one with which so many steps cover `_LEAST_S`."""
    if not steps or len(times) < 2:
        return 1
    step_s = (times[-1] - times[0]) / (len(times) - 1)
    return 1 + 2 * math.ceil(max(_LEAST_S / (steps * step_s) - 1, 0) / 2)


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
