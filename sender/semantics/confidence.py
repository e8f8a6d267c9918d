"""The probability that the keypoints of a limb lie where the receiver publishes them.

A logistic regression for each kind of limb (head, arm, leg; both sides share it) on what sender and labels know of
their certainty, fitted on photographs that no network was trained on.  A keypoint is right if it is within 0.1 of the
longer side of the person's box.

Shapes: B people, L = 5 limbs, F numbers of evidence, K = 17 keypoints, E label entries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
import torch
from torch import Tensor, nn

from common.arrays import FloatArray
from common.body.anatomy import KEYPOINT_GROUPS
from common.labels import group_slices
from common.weights.devices import to_numpy
from common.weights.loader import load_recorded
from common.weights.manifest import WEIGHTS_DIRECTORY
from sender.perception.crop import CROP_MARGIN
from sender.perception.read import log_odds
from sender.perception.track import ObservedPerson
from sender.semantics.bodies import together

WEIGHTS_NAME: Final = "confidence"
KIND: Final = "confidence-logistic-1"
RIGHT_WITHIN: Final = 0.1
"""Error of a keypoint that is right, over the longer side of the person's box."""

LIMBS: Final[Mapping[str, tuple[int, ...]]] = {
    limb: tuple(index for index, group in enumerate(KEYPOINT_GROUPS) if group == limb)
    for limb in dict.fromkeys(KEYPOINT_GROUPS)
}
"""Label group → its keypoints."""

KIND_OF_LIMB: Final = (0, 1, 1, 2, 2)
KINDS: Final = 3
EVIDENCE: Final = 5
# Label entries of a limb whose deviation counts: the leading ones move it most.
_LEADING_ENTRIES: Final = 3
_MAX_LOGIT: Final = 8.0
_LEAST_DISTANCE, _LEAST_SIGMA = 0.01, 1e-3
# (L, 3) those entries, and (K, L) the weights of a limb's keypoints in their mean.
_LEADING: Final = np.array([np.arange(_LEADING_ENTRIES) + group_slices()[limb].start for limb in LIMBS])
_MEANS: Final = np.stack([np.isin(np.arange(17), each) / np.float32(len(each)) for each in LIMBS.values()], axis=1)


def evidence(observed: Sequence[ObservedPerson], keypoints_BK2: FloatArray, sigma_BE: FloatArray) -> FloatArray:
    """(B, L, F) what is known of the certainty of each limb.

    Args:
        observed: B people.
        keypoints_BK2: those of their bodies, pixels.
        sigma_BE: standard deviations of the label entries.
    """
    output, score_B = together(observed), np.array([person.score for person in observed], np.float32)
    pairs = zip(observed, keypoints_BK2, strict=True)
    projected_BK2 = np.stack([person.crop.to_units(keypoints) for person, keypoints in pairs])
    apart = np.linalg.norm(projected_BK2 - to_numpy(output.keypoints_2d), axis=-1) * CROP_MARGIN
    visible = to_numpy(output.visible_logit).clip(-_MAX_LOGIT, _MAX_LOGIT)
    log_odds_B = to_numpy(log_odds(torch.from_numpy(score_B)))
    columns = (
        np.log(np.maximum(to_numpy(output.keypoints_sigma) @ _MEANS, _LEAST_SIGMA)),
        visible @ _MEANS,
        np.log(apart @ _MEANS + _LEAST_DISTANCE),
        np.log(np.maximum(sigma_BE[:, _LEADING].mean(axis=2), _LEAST_SIGMA)),
        np.broadcast_to(log_odds_B[:, None], (len(score_B), len(LIMBS))),
    )
    return np.stack(columns, axis=-1)


@dataclass(frozen=True, slots=True)
class ConfidenceConfig:
    """Sizes, as the manifest records them."""

    evidence: int = EVIDENCE


class ConfidenceNet(nn.Module):
    """Evidence (B, L, F) → (B, L) log odds that a keypoint of the limb is right."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: ConfidenceConfig) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.zeros(KINDS, config.evidence))
        self.bias = nn.Parameter(torch.zeros(KINDS))
        self.register_buffer("mean", torch.zeros(config.evidence))
        self.register_buffer("scale", torch.ones(config.evidence))

    def forward(self, evidence_BLF: Tensor) -> Tensor:
        standardised = (evidence_BLF - self.mean) / self.scale
        kinds = list(KIND_OF_LIMB)
        log_odds_BL: Tensor = (standardised * self.weight[kinds]).sum(dim=-1) + self.bias[kinds]
        return log_odds_BL


class KeypointConfidence:
    """Estimates how likely the keypoints of each limb are right."""

    def __init__(self, net: ConfidenceNet) -> None:
        self.net, kinds = net.eval().requires_grad_(False), list(KIND_OF_LIMB)
        weight_LF = (net.weight / net.scale)[kinds]
        self._weight_LF, self._bias_L = weight_LF.numpy(), (net.bias[kinds] - weight_LF @ net.mean).numpy()

    @classmethod
    def load(cls, directory: Path = WEIGHTS_DIRECTORY) -> Self:
        """The shipped regression; raises WeightsError where its weights are missing, damaged or of another version."""
        return cls(load_recorded(WEIGHTS_NAME, KIND, ConfidenceConfig, ConfidenceNet, directory))

    def limbs(self, evidence_BLF: FloatArray) -> list[dict[str, float]]:
        """For each person, label group → probability 0…1, of the groups in `LIMBS`."""
        log_odds_BL = (evidence_BLF * self._weight_LF).sum(axis=-1) + self._bias_L
        return [dict(zip(LIMBS, row, strict=True)) for row in (1 / (1 + np.exp(-log_odds_BL))).tolist()]
