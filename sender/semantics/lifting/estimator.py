"""Bodies that are lifted over time from what is fitted to the frames around."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import numpy as np
import torch

from common.frames import Camera
from common.weights.devices import CPU
from sender.perception.stage import ObservedPerson
from sender.perception.tracking.known_people import KnownPeople
from sender.semantics.bodies import Bodies
from sender.semantics.fitting import Fitter
from sender.semantics.lifting.lifter import FRAMES, Lifter
from sender.semantics.lifting.memory import LATER_S, RecentFrames, observations
from sender.semantics.over_time.steady_shape import SteadyShape
from sender.semantics.posed import CropFits


class LiftedBodies:
    """The estimator by the lifting network."""

    def __init__(self, fitter: Fitter, lifter: Lifter) -> None:
        self._fits, self._lifter, self._frames = CropFits(fitter), lifter, RecentFrames()
        self._shapes = KnownPeople(SteadyShape)

    @property
    def smooths(self) -> bool:
        return True

    @classmethod
    def load(cls, device: torch.device = CPU) -> Self:
        """With the shipped weights; raises WeightsError where they are missing, damaged or of another version."""
        return cls(CropFits.load(device).fitter, Lifter.load(device))

    def sharing(self, strength: float) -> Self:
        """Another estimator by the same networks."""
        return type(self)(self._fits.fitter, self._lifter)

    def wait(self, later: bool) -> float:
        self.reset()
        return LATER_S if later else 0.0

    def reset(self) -> None:
        self._fits.reset()
        self._frames.clear()
        self._shapes.clear()

    def observe(self, observed: Sequence[ObservedPerson], camera: Camera, time_s: float) -> None:
        if not observed:
            self._frames.add({}, time_s)
            return
        frames = observations(observed, self._fits.fitted(observed, camera), camera, time_s)
        self._frames.add({person.identity: frame for person, frame in zip(observed, frames, strict=True)}, time_s)

    def bodies(self, observed: Sequence[ObservedPerson], camera: Camera, time_s: float) -> Bodies:
        windows = [self._frames.window(person.identity, time_s, FRAMES) for person in observed]
        found = self._lifter.bodies(windows, camera)
        self._shapes.see((person.identity for person in observed), time_s)
        steady = [
            self._shapes[person.identity].steady(entries, time_s)
            for person, entries in zip(observed, found.entries, strict=True)
        ]
        return replace(found, entries=np.stack(steady))

    def alone(self, observed: Sequence[ObservedPerson], camera: Camera) -> Bodies:
        return self._fits.alone(observed, camera)
