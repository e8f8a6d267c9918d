"""What people's bodies are estimated to be in a frame, and what estimates them.

Shapes: B people, E = 80 label entries, K = 17 keypoints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from common.arrays import FloatArray
from common.body.label_space import TRANSLATION_MEAN, TRANSLATION_SCALE
from common.frames import Camera
from common.labels import ROTATION_SCALE
from sender.perception.network.output import PerceptionOutput
from sender.perception.stage import ObservedPerson
from sender.semantics.crop_labels import PELVIS


@dataclass(frozen=True, slots=True)
class Bodies:
    """The bodies of B people.

    Args:
        entries, sigma: (B, E) label entries in the frame's camera space, and their standard deviations.
        keypoints: (B, K, 2) pixels.
        contact: of each person, whether the left and the right foot stand on the floor; None where nothing tells.
    """

    entries: FloatArray
    sigma: FloatArray
    keypoints: FloatArray
    contact: Sequence[tuple[bool, bool] | None]


class BodyEstimator(Protocol):
    """Estimates bodies from what perception saw, in this frame and in others."""

    @property
    def smooths(self) -> bool:
        """Whether bodies are estimated from more than one frame."""

    def sharing(self, strength: float) -> Self:
        """Another one by the same networks, which smooths so much (`--smoothing`)."""

    def wait(self, later: bool) -> float:
        """Says whether frames are estimated when later ones are known; returns by how much later: seconds.

        Everybody is forgotten.
        """

    def reset(self) -> None:
        """Forgets everybody, for a new source."""

    def observe(self, observed: Sequence[ObservedPerson], camera: Camera, time_s: float) -> None:
        """Takes note of the next frame, in the order of time."""

    def bodies(self, observed: Sequence[ObservedPerson], camera: Camera, time_s: float) -> Bodies:
        """Those of B ≥ 1 people in a frame that was noted, in the order of time."""

    def alone(self, observed: Sequence[ObservedPerson], camera: Camera) -> Bodies:
        """Those of B ≥ 1 people of whom there is no other frame."""


def placed(entries: FloatArray, orientation: FloatArray, pelvis: FloatArray) -> FloatArray:
    """Label entries (B, E) in the frame's camera space.

    Args:
        entries: (B, E) of which orientation and pelvis are in another camera.
        orientation, pelvis: (B, 3, 3) and (B, 3), metres, in the frame's.
    """
    x, y, z = pelvis.T
    position = (np.stack([x / z, y / z, np.log(z)], 1) - TRANSLATION_MEAN) / TRANSLATION_SCALE
    columns = orientation[..., :2].swapaxes(1, 2).reshape(len(entries), -1) / ROTATION_SCALE
    return np.concatenate([columns, position, entries[:, PELVIS.stop :]], 1, dtype=np.float32)


def together(observed: Sequence[ObservedPerson]) -> PerceptionOutput:
    """What perception says of B ≥ 1 people."""
    first = observed[0].output
    return PerceptionOutput.concatenate([person.output for person in observed]) if len(observed) > 1 else first
