"""What is remembered of one person's face: where it was, what it is like at rest, and its steady activations."""

import math
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from common.arrays import FloatArray
from common.body.anatomy import FACIAL_ACTIONS
from sender.face.actions import LIDS, FaceActions, lids_closed
from sender.face.alignment import AlignedFace
from sender.face.landmarks import FaceLandmarks
from sender.face.lids import Lids, lids_of_still
from sender.face.neutral import NeutralFace
from sender.people.reading_schedule import Turn
from sender.perception.views import USUAL_STEP_S

# Jitter of activations: a change is followed by d²/(d² + σ²) of it, so that words pass and noise does not.
_JITTER = 0.1


@dataclass(slots=True)
class FaceMemory:
    """Of one person.

    Args:
        people: (K,) the mean face n of `sender.face.actions`.
        turn: due since the face was last read; −∞ where it is lost.
        last: its landmarks then.
        activations: (52,) 0…1, steady.
        neutral: what the person's own face is like at rest.
        lids: what the lids do.
    """

    people: Tensor
    turn: Turn = field(default_factory=lambda: Turn(-math.inf))
    last: FaceLandmarks | None = None
    activations: FloatArray = field(default_factory=lambda: np.zeros(len(FACIAL_ACTIONS), np.float32))
    neutral: NeutralFace = field(default_factory=NeutralFace)
    lids: Lids = field(default_factory=Lids)

    @property
    def read_s(self) -> float:
        """When the face was last read; −∞ where it is lost."""
        return -math.inf if self.turn.due_s is None else self.turn.due_s

    def lose(self) -> None:
        """Forgets where the face is, and what it does; what it is like stays."""
        self.last, self.turn.due_s = None, -math.inf
        self.lids.lose()

    def read(self, network: FaceActions, face: AlignedFace, now_s: float, *, is_still: bool = False) -> None:
        """Takes an aligned face of this frame.

        Args:
            is_still: whether the frame is a picture of its own: nothing goes before it.
        """
        is_new = math.isinf(self.read_s)
        step_s = USUAL_STEP_S if is_new else now_s - self.read_s
        readings = network.readings(face, self.people)
        self.neutral.learn(readings, step_s)
        activations = self.neutral.activations(readings)
        if not is_new:
            change = activations - self.activations
            # Of frames that follow each other faster, each says less that is new.
            ignored = (_JITTER**2 / (change**2 + _JITTER**2)) ** min(step_s / USUAL_STEP_S, 1.0)
            activations = self.activations + change * (1 - ignored)
        if is_still:
            activations[LIDS] = lids_of_still(readings[LIDS], face.rotation)
        else:
            activations[LIDS] = self.lids.follow(lids_closed(face), face.rotation, step_s)
        self.activations, self.turn.due_s = np.asarray(activations, np.float32), now_s
