"""Heads where the landmarks of their faces are.

Labels place the pelvis.  Of a close-up it is outside the picture, and errors of trunk and neck move the head, which
alone is seen: bodies are moved so that nose and eyes are where they are seen.

Shapes: B people, E = 80 label entries.
"""

from collections.abc import Sequence
from typing import Final, Self

import numpy as np

from common.arrays import FloatArray
from common.frames import Camera
from sender.face.head_pose import FRONT
from sender.perception.crop import to_crop
from sender.perception.track import ObservedPerson
from sender.semantics.bodies import placed
from sender.semantics.keypoint_jacobian import CROSS, KeypointJacobian, orientation

_LEAST_DEPTH_M: Final = 0.1


class HeadPlacement:
    """Moves bodies.

    Args:
        keypoints: of arrays.
    """

    def __init__(self, keypoints: KeypointJacobian) -> None:
        self._keypoints = keypoints

    @classmethod
    def load(cls) -> Self:
        """For the body and the labels of the package; raises WeightsError if a file of them is missing or damaged."""
        return cls(KeypointJacobian.load())

    def placed(self, entries: FloatArray, observed: Sequence[ObservedPerson], camera: Camera) -> FloatArray:
        """Label entries (B, E) in the frame's camera space, of people with heads as these are."""
        moved = entries.copy()
        for row, person in enumerate(observed):
            if person.head is not None:
                own = entries[row : row + 1]
                away = person.head.in_camera(camera)[:FRONT] - self._keypoints.keypoints(own)[0, :FRONT]
                pelvis = away.mean(axis=0, keepdims=True)
                pelvis[:, 2] = pelvis[:, 2].clip(_LEAST_DEPTH_M)
                moved[row] = placed(own, orientation(own, CROSS), pelvis)[0]
        return moved


def head_in_crop(person: ObservedPerson, camera: Camera) -> FloatArray | None:
    """(5, 3) nose, eyes and ears that landmarks place, in the crop's camera space, metres; None if none do."""
    if person.head is None:
        return None
    places = person.head.in_camera(camera)
    middle = places.mean(axis=0)
    turn, position = to_crop(np.eye(3, dtype=np.float32), middle, person.crop, camera)
    return np.asarray(position + (places - middle) @ turn.T, np.float32)
