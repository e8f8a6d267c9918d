"""Bodies that are estimated from what perception saw of people in the frames around."""

from collections.abc import Sequence
from typing import Self

import torch

from common.frames import Camera
from common.weights.devices import CPU, to_numpy
from common.weights.inference import NetworkInUse, in_use
from common.weights.manifest import find_entry
from sender.perception.network.output import FEATURE_SIZE
from sender.perception.stage import ObservedPerson
from sender.semantics.bodies import Bodies, together
from sender.semantics.lifting.lifter import FRAMES, Lifter
from sender.semantics.lifting.memory import LATER_S, RecentFrames, Window, observations
from sender.semantics.lifting.window import Observations
from sender.semantics.predictor import ERRORS_NAME, PoseHead


class LiftedBodies:
    """The estimator by the lifting network.

    Args:
        pose_head: `sender.semantics.predictor.PoseHead` in use.
    """

    def __init__(self, pose_head: NetworkInUse, lifter: Lifter) -> None:
        self._pose_head, self._lifter, self._frames = pose_head, lifter, RecentFrames()

    @property
    def smooths(self) -> bool:
        return True

    @property
    def later_s(self) -> float:
        return LATER_S

    @classmethod
    def load(cls, device: torch.device = CPU) -> Self:
        """With the shipped weights; raises WeightsError where they are missing, damaged or of another version."""
        example, precision = (torch.zeros(1, FEATURE_SIZE),), find_entry(ERRORS_NAME).precision
        return cls(in_use(PoseHead.load(), example, ERRORS_NAME, precision, device), Lifter.load(device))

    def sharing(self, strength: float) -> Self:
        """Another estimator by the same networks."""
        return type(self)(self._pose_head, self._lifter)

    def reset(self) -> None:
        self._frames.clear()

    def observe(self, observed: Sequence[ObservedPerson], camera: Camera, time_s: float) -> None:
        found = zip(observed, self._seen(observed, camera, time_s), strict=True)
        self._frames.add({person.identity: frame for person, frame in found}, time_s)

    def bodies(self, observed: Sequence[ObservedPerson], camera: Camera, time_s: float) -> Bodies:
        windows = [self._frames.window(person.identity, time_s, FRAMES) for person in observed]
        return self._lifter.bodies(windows, camera)

    def alone(self, observed: Sequence[ObservedPerson], camera: Camera) -> Bodies:
        windows = [Window([each], 0) for each in self._seen(observed, camera, 0.0)]
        return self._lifter.bodies(windows, camera)

    def _seen(self, observed: Sequence[ObservedPerson], camera: Camera, time_s: float) -> list[Observations]:
        """What a frame tells of each person who is found in it."""
        if not observed:
            return []
        output = together(observed)
        entries, sigma = map(to_numpy, self._pose_head(output.features()))
        return observations(output, entries, sigma, [person.crop for person in observed], camera, time_s)
