"""Bodies that are estimated from each frame alone, by the pose head, and smoothed over the frames around."""

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
from common.weights.inference import in_use
from common.weights.manifest import find_entry
from sender.perception.inference.crop import to_frame
from sender.perception.network.output import FEATURE_SIZE
from sender.perception.stage import ObservedPerson
from sender.semantics.bodies import Bodies, placed, together
from sender.semantics.crop_labels import ENTRIES, pelvis_in_crop
from sender.semantics.fitting import FittedEntries, Fitter, FitterOnGpu, FitterOnHost, FittingNetwork
from sender.semantics.keypoint_jacobian import CROSS, orientation
from sender.semantics.over_time.fixed_lag import LATER_S, FixedLagSmoother
from sender.semantics.predictor import ERRORS_NAME, PoseHead
from sender.semantics.refine import Refiner, Targets


class CropFits:
    """Fits bodies to each frame, from where they were fitted to the last one."""

    def __init__(self, fitter: Fitter) -> None:
        self.fitter = fitter
        self._corrections: dict[int, FloatArray] = {}

    @classmethod
    def load(cls, device: torch.device = CPU) -> Self:
        """With the shipped weights; raises WeightsError where they are missing, damaged or of another version."""
        return cls(_load_fitter(device))

    def reset(self) -> None:
        """Forgets everybody, for a new source."""
        self._corrections.clear()

    def fitted(self, observed: Sequence[ObservedPerson], camera: Camera) -> FittedEntries:
        """Those of B ≥ 1 people in the next frame, in their crops."""
        last = self._corrections
        known = [last[person.identity] for person in observed if person.identity in last]
        # Where all people were in the frame before, from there on.
        fitted = self._fit(observed, camera, np.stack(known) if len(known) == len(observed) else None)
        changes = zip(observed, fitted.refined - fitted.predicted, strict=True)
        self._corrections = {person.identity: change for person, change in changes}
        return fitted

    def alone(self, observed: Sequence[ObservedPerson], camera: Camera) -> Bodies:
        """Those of B ≥ 1 people of whom there is no other frame."""
        return in_frame(self._fit(observed, camera, None), observed, camera)

    def _fit(self, observed: Sequence[ObservedPerson], camera: Camera, correction: FloatArray | None) -> FittedEntries:
        output = together(observed)
        focal = np.array([camera.focal_px / person.crop.side for person in observed], np.float32)
        return self.fitter(output.features(), Targets.from_output(output, focal), correction)


def in_frame(fitted: FittedEntries, observed: Sequence[ObservedPerson], camera: Camera) -> Bodies:
    """What is fitted to people in their crops, in the frame."""
    focal = np.array([camera.focal_px / person.crop.side for person in observed], np.float32)
    roots, pelvises = orientation(fitted.refined, CROSS), pelvis_in_crop(fitted.refined, focal[:, None])
    moved = [
        to_frame(root, pelvis, person.crop, camera)
        for root, pelvis, person in zip(roots, pelvises, observed, strict=True)
    ]
    turns, places = (np.stack(each) for each in zip(*moved, strict=True))
    entries = placed(fitted.refined, turns, places)
    pixels = [person.crop.to_pixels(each) for person, each in zip(observed, fitted.keypoints, strict=True)]
    return Bodies(entries, fitted.sigma, np.stack(pixels), [None] * len(observed))


class PosedBodies:
    """The estimator by the pose head and its refinement.

    Args:
        strength: of `FixedLagSmoother`; 0 leaves each frame as it is.
    """

    def __init__(self, fitter: Fitter, strength: float) -> None:
        self._fits, self._strength = CropFits(fitter), strength
        self._smoother = FixedLagSmoother(strength) if strength else None
        # Of the frames with people that were observed, oldest first.
        self._found: deque[Bodies] = deque()

    @classmethod
    def load(cls, strength: float = 0.0, device: torch.device = CPU) -> Self:
        """With the shipped weights; raises WeightsError where they are missing, damaged or of another version."""
        return cls(_load_fitter(device), strength)

    @property
    def smooths(self) -> bool:
        return self._smoother is not None

    def sharing(self, strength: float) -> Self:
        """Another estimator by the same networks."""
        return type(self)(self._fits.fitter, strength)

    def wait(self, later: bool) -> float:
        self.reset()
        if self._smoother is None:
            return 0.0
        self._smoother = FixedLagSmoother(self._strength, waits=later)
        return LATER_S if later else 0.0

    def reset(self) -> None:
        self._fits.reset()
        self._found.clear()
        if self._smoother is not None:
            self._smoother.reset()

    def observe(self, observed: Sequence[ObservedPerson], camera: Camera, time_s: float) -> None:
        if self._smoother is None or not observed:
            return
        found = in_frame(self._fits.fitted(observed, camera), observed, camera)
        self._found.append(found)
        for entries, person in zip(found.entries, observed, strict=True):
            labels = np.zeros(LABEL_SIZE, np.float32)
            labels[:ENTRIES] = entries
            self._smoother.add(person.identity, time_s, labels, person.view)

    def bodies(self, observed: Sequence[ObservedPerson], camera: Camera, time_s: float) -> Bodies:
        if self._smoother is None:
            return self._fits.alone(observed, camera)
        entries = np.stack([self._smoother.next(person.identity)[:ENTRIES] for person in observed])
        return replace(self._found.popleft(), entries=entries)

    def alone(self, observed: Sequence[ObservedPerson], camera: Camera) -> Bodies:
        return self._fits.alone(observed, camera)


def _load_fitter(device: torch.device) -> Fitter:
    predictor, refiner = PoseHead.load(), Refiner.load()
    name, precision = ERRORS_NAME, find_entry(ERRORS_NAME).precision
    if device.type != "cpu":
        both = (FittingNetwork(predictor, refiner.keypoints, follows=follows) for follows in (False, True))
        anew, following = (in_use(each, each.example(), name, precision, device) for each in both)
        # NumPy is faster than a thousand launches.
        if anew.is_one_graph and following.is_one_graph:
            return FitterOnGpu(anew, following)
    example = (torch.zeros(1, FEATURE_SIZE),)
    return FitterOnHost(in_use(predictor, example, name, precision, device), refiner)
