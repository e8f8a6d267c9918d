"""Bodies that are fitted to each frame in its crops, by the pose head and its refinement."""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch

from common.arrays import FloatArray
from common.frames import Camera
from common.weights.devices import CPU
from common.weights.inference import in_use
from common.weights.manifest import find_entry
from sender.perception.output import FEATURE_SIZE
from sender.perception.track import ObservedPerson, TrackedPerson
from sender.semantics.bodies import Bodies, entries_in_frame, together
from sender.semantics.fitting import FittedEntries, Fitter, FitterOnGpu, FitterOnHost, FittingNetwork
from sender.semantics.heads import head_in_crop
from sender.semantics.predictor import ERRORS_NAME, PoseHead
from sender.semantics.refine import Refiner, Targets


class CropFits:
    """Fits bodies to each frame, from where they were fitted to the last one."""

    def __init__(self, fitter: Fitter) -> None:
        self.fitter = fitter
        # Of the last frame.
        self._corrections: dict[TrackedPerson, FloatArray] = {}

    @classmethod
    def load(cls, device: torch.device = CPU) -> Self:
        """With the shipped weights; raises WeightsError where they are missing, damaged or of another version."""
        return cls(_load_fitter(device))

    def fitted(self, observed: Sequence[ObservedPerson], camera: Camera) -> FittedEntries:
        """Those of B ≥ 1 people in the next frame, in their crops."""
        last = self._corrections
        known = [last[each.person] for each in observed if each.person in last]
        # Where all people were in the frame before, from there on.
        fitted = self._fit(observed, camera, np.stack(known) if len(known) == len(observed) else None)
        changes = zip(observed, fitted.refined - fitted.predicted, strict=True)
        self._corrections = {each.person: change for each, change in changes}
        return fitted

    def alone(self, observed: Sequence[ObservedPerson], camera: Camera) -> Bodies:
        """Those of B ≥ 1 people of whom there is no other frame."""
        return in_frame(self._fit(observed, camera, None), observed, camera)

    def _fit(self, observed: Sequence[ObservedPerson], camera: Camera, correction: FloatArray | None) -> FittedEntries:
        output = together(observed)
        focal = np.array([camera.focal_px / person.crop.side for person in observed], np.float32)
        heads = [head_in_crop(person, camera) for person in observed]
        return self.fitter(output.features(), Targets.from_output(output, focal, heads), correction)


def in_frame(fitted: FittedEntries, observed: Sequence[ObservedPerson], camera: Camera) -> Bodies:
    """What is fitted to people in their crops, in the frame."""
    entries = entries_in_frame(fitted.refined, [person.crop for person in observed], camera)
    pixels = [person.crop.to_pixels(each) for person, each in zip(observed, fitted.keypoints, strict=True)]
    return Bodies(entries, fitted.sigma, np.stack(pixels))


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
