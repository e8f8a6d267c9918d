"""Estimates bodies: what is fitted to each frame, smoothed over the frames around, and lifted.

    perception's output ── pose head, refinement ── smoothing ── lifting ── heads ── bodies

Shapes: B people.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import numpy as np
import torch

from common.arrays import FloatArray
from common.frames import Camera
from common.labels import LABEL_SIZE
from common.weights.devices import CPU
from sender.perception.track import ObservedPerson
from sender.semantics.bodies import Bodies, entries_in_crops
from sender.semantics.config import SmoothingConfig
from sender.semantics.crop_fits import CropFits, in_frame
from sender.semantics.crop_labels import ENTRIES
from sender.semantics.heads import HeadPlacement
from sender.semantics.lifting.lifter import FRAMES, Lifter
from sender.semantics.lifting.memory import RecentFrames, observations
from sender.semantics.over_time.fixed_lag import LATER_S, FixedLagSmoother


class BodyEstimator:
    """Estimates bodies from what perception saw, in this frame and in others.

    Args:
        strength: of `FixedLagSmoother`; 0 leaves each frame as it is.
        heads: moves bodies to where landmarks have their heads.
        lifter: rights what is smoothed.
    """

    def __init__(self, fits: CropFits, strength: float, heads: HeadPlacement, lifter: Lifter) -> None:
        self._fits, self._strength, self._heads, self._lifter = fits, strength, heads, lifter
        self._smoother = FixedLagSmoother(strength) if strength else None
        self._frames = RecentFrames()
        # Of the frames with people that were observed, oldest first.
        self._found: deque[Bodies] = deque()
        self._later = False

    @classmethod
    def load(cls, config: SmoothingConfig, device: torch.device = CPU) -> Self:
        """With the shipped weights; raises WeightsError where they are missing, damaged or of another version."""
        return cls(CropFits.load(device), config.smoothing, HeadPlacement.load(), Lifter.load(device))

    def anew(self, strength: float) -> Self:
        """Another estimator by the same networks, which smooths so much (`--smoothing`)."""
        return type(self)(CropFits(self._fits.fitter), strength, self._heads, self._lifter)

    @property
    def smooths(self) -> bool:
        """Whether bodies are estimated from more than one frame."""
        return self._smoother is not None

    def wait(self, later: bool) -> float:
        """Says whether frames are estimated when later ones are known; returns by how much later: seconds.

        What was observed is forgotten.
        """
        self._found.clear()
        self._later = later
        if self._smoother is None:
            return 0.0
        self._smoother = FixedLagSmoother(self._strength, waits=later)
        return LATER_S if later else 0.0

    def forget(self) -> None:
        """Forgets what was observed."""
        self.wait(self._later)

    def observe(self, observed: Sequence[ObservedPerson], camera: Camera, time_s: float) -> None:
        """Takes note of the next frame, in the order of time."""
        if self._smoother is None:
            return
        if not observed:
            self._frames.add({}, time_s)
            return
        fitted = self._fits.fitted(observed, camera)
        found = in_frame(fitted, observed, camera)
        labels = np.zeros((len(observed), LABEL_SIZE), np.float32)
        labels[:, :ENTRIES] = found.entries
        rows = zip(observed, labels, strict=True)
        smoothed = [self._smoother.add(each.person, time_s, row, each.view) for each, row in rows]
        self._found.append(found)
        frames = observations(observed, fitted, _in_crops(smoothed, observed, camera), camera, time_s)
        self._frames.add({each.person: frame for each, frame in zip(observed, frames, strict=True)}, time_s)

    def bodies(self, observed: Sequence[ObservedPerson], camera: Camera, time_s: float) -> Bodies:
        """Those of B ≥ 1 people in a frame that was noted, in the order of time."""
        if self._smoother is None:
            return self.alone(observed, camera)
        smoothed, found = [self._smoother.next(each.person) for each in observed], self._found.popleft()
        rows = zip(observed, _in_crops(smoothed, observed, camera), strict=True)
        windows = [self._frames.window(each.person, time_s, FRAMES).where_smoothed(row) for each, row in rows]
        entries, keypoints = self._lifter.lifted(windows, camera)
        return self._placed(replace(found, entries=entries, keypoints=keypoints), observed, camera)

    def alone(self, observed: Sequence[ObservedPerson], camera: Camera) -> Bodies:
        """Those of B ≥ 1 people of whom there is no other frame."""
        return self._placed(self._fits.alone(observed, camera), observed, camera)

    def _placed(self, bodies: Bodies, observed: Sequence[ObservedPerson], camera: Camera) -> Bodies:
        return replace(bodies, entries=self._heads.placed(bodies.entries, observed, camera))


def _in_crops(labels: Sequence[FloatArray], observed: Sequence[ObservedPerson], camera: Camera) -> FloatArray:
    """(B, E) of labels (LABEL_SIZE,) in the frame."""
    return entries_in_crops(np.stack(labels)[:, :ENTRIES], [person.crop for person in observed], camera)
