"""What is remembered of one person's face: where it was, what it is like at rest, and its steady activations."""

import math
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from common.arrays import FloatArray
from common.body.anatomy import FACIAL_ACTIONS
from sender.face.actions import FaceActions
from sender.face.alignment import AlignedFace
from sender.face.landmarks import FaceLandmarks
from sender.face.neutral import NeutralFace
from sender.perception.tracking.frame_clock import USUAL_STEP_S

# Jitter of activations: a change is followed by d²/(d² + σ²) of it, so that blinks pass and noise does not.
_JITTER = 0.1
# Turned so far, radians, the other eye is hardly seen: both lids are those of the nearer one.
_TURNED, _PROFILE = 0.35, 0.6
_LEFT = np.array([name.startswith("eye") and "Look" not in name and name.endswith("Left") for name in FACIAL_ACTIONS])
_RIGHT = np.array([name.startswith("eye") and "Look" not in name and name.endswith("Right") for name in FACIAL_ACTIONS])


@dataclass(slots=True)
class FaceMemory:
    """Of one person.

    Args:
        people: (K,) the mean face n of `sender.face.actions`.
        read_s: when the face was last read, by a clock that never goes back; −∞ where it is lost.
        last: its landmarks then.
        activations: (52,) 0…1, steady.
        neutral: what the person's own face is like at rest.
    """

    people: Tensor
    read_s: float = -math.inf
    last: FaceLandmarks | None = None
    activations: FloatArray = field(default_factory=lambda: np.zeros(len(FACIAL_ACTIONS), np.float32))
    neutral: NeutralFace = field(default_factory=NeutralFace)

    def lose(self) -> None:
        """Forgets where the face is, and what it does; what it is like stays."""
        self.last, self.read_s = None, -math.inf

    def read(self, network: FaceActions, face: AlignedFace, now_s: float) -> None:
        """Takes an aligned face of this frame."""
        is_new = math.isinf(self.read_s)
        step_s = USUAL_STEP_S if is_new else now_s - self.read_s
        readings = network.readings(face, self.people)
        self.neutral.learn(readings, step_s)
        activations = _of_nearer_eye(self.neutral.activations(readings), face.rotation)
        if not is_new:
            change = activations - self.activations
            # Of frames that follow each other faster, each says less that is new.
            ignored = (_JITTER**2 / (change**2 + _JITTER**2)) ** min(step_s / USUAL_STEP_S, 1.0)
            activations = self.activations + change * (1 - ignored)
        self.activations, self.read_s = np.asarray(activations, np.float32), now_s


def _of_nearer_eye(activations: FloatArray, rotation: FloatArray) -> FloatArray:
    """Activations (52,) with the lids of the eye that is nearer to the camera, where the head is turned."""
    # The back of the head, +z, is on the other side of where the nose points.
    yaw = math.atan2(float(rotation[0, 2]), float(rotation[2, 2]))
    share = min(max((abs(yaw) - _TURNED) / (_PROFILE - _TURNED), 0.0), 1.0)
    near, far = (_LEFT, _RIGHT) if yaw > 0 else (_RIGHT, _LEFT)
    turned = activations.copy()
    turned[far] += share * (activations[near] - activations[far])
    return turned
